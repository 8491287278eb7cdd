"""How large numbers and texts may be that come from outside."""

MAX_COUNT = 2**53
"""The largest whole number that every JSON reader takes as it is: a count of bytes, steps or rows."""
MAX_SAMPLE_PROMPT = 2_000
"""Characters of a prompt that a model answers while it trains: it stands in the log with each answer."""
MAX_TEXT = 65_536
"""Characters of a text among parameters: the longest are templates of chats."""

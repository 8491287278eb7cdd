"""OpenAI's form of chats and completions, under a prefix of its own: their clients work unmodified."""

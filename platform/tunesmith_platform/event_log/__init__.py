"""The log of every task's events: what it holds, and who hears of what is new in it."""

"""Browsers that came in: a one-time code becomes a cookie, which stands for the key that made the code."""

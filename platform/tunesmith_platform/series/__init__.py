"""Curves at scale: metric events packed into chunks with roll-ups, and the queries that charts ask."""

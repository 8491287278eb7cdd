"""Configuration files of other tools, read as ours: what a name means there, and what of it would not be the same."""

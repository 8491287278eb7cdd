"""Rows out of files: formats, compression, bounds on what is read."""

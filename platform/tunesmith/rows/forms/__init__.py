"""Conversations as other tools write them into rows: each form reads its own columns into our turns."""

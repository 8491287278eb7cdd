"""Conversations: read from a row, rendered by a template, and which of their characters are trained."""

"""Conversations that are kept on the server: asked within, rated, exported, and forgotten in time."""

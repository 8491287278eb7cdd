"""Base models: how they get onto this machine."""

"""Brings the world to what users want: claim, observe, decide, act, record."""

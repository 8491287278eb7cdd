"""Bringing base models from a hub to the platform."""

"""The folder that these tests change."""

from small_folders import folder

__all__ = ["folder"]

"""Warm runners: processes that wait on Ray, all imports done, so that a task starts at once."""

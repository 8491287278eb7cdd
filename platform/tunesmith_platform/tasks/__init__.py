"""Tasks: what users create, list, change, stop and delete."""

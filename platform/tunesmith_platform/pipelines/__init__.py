"""Pipelines: tasks and operations on data, each after those that it needs."""

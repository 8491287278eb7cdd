"""Answering prompts with a model, as a task."""

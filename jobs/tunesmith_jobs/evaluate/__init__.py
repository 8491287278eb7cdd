"""Evaluating a model on rows."""

"""Packaging a model."""

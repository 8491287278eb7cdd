"""Packages: the files that were made of a model."""

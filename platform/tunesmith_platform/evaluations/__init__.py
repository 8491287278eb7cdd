"""Evaluations: the samples that are asked, and what was found."""

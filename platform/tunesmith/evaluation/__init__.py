"""Evaluating checkpoints: samples, scores of answers, what may be said of their differences. Knows no torch."""

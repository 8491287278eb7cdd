"""Checkpoints: what is complete and verified in storage."""

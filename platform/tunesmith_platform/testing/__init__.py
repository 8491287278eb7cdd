"""Fakes of the edges, contract-tested against the real ones."""

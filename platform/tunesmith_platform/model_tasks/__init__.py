"""Tasks that use a model: evaluate it, let it answer, package it."""

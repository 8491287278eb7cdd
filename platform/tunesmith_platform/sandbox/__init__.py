"""Processes of their own for what strangers' files make us compute: tables, tokenizers, templates, YAML, archives."""

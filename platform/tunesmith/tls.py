"""Whose certificates we believe when we call somebody."""

import ssl

import certifi


def trust() -> ssl.SSLContext:
    """The machine's own authorities (`SSL_CERT_FILE` adds one), and the known ones.

    Our clients read nothing else of the environment: with `trust_env` they would take its proxies too.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context

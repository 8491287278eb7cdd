"""Uploading results to the Hub."""

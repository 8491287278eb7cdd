"""Copies the event log into MLflow, at its own pace."""

"""The event log: ingest exactly once, reading with a cursor, the live stream."""

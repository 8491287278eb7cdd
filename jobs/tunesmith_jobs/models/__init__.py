"""Models as files and in memory: brought to this machine, read safely, loaded, merged, measured, described."""

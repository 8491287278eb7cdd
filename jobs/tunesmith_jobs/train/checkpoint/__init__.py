"""What is saved of a run, where it lies, and how a run is resumed from it."""

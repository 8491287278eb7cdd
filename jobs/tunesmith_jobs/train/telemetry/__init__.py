"""What a run reports of itself beside its losses: progress, logs, machines, trackers."""

"""What runs on Ray: a task's entry, its reports, its training. Knows the contract, never the control plane."""

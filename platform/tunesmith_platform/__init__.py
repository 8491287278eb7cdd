"""The control plane: takes tasks, runs them on Ray, keeps their history. Knows the contract, never torch."""

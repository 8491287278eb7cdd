"""Templates: parameters under a name, built in or saved by users."""

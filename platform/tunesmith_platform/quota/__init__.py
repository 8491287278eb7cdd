"""Training quota: a ledger of what a project may save, what its tasks hold, and what they have saved."""

"""What a user may ask for: one module a task kind, and the mechanism that declares a parameter once."""

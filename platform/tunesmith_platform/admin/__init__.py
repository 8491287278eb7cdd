"""What whoever runs a platform does to it as a whole: backup, restore, what may be removed. Knows no HTTP."""

"""One run, step by step: the Trainer, its callbacks, and how it is interrupted."""

"""The proof that a GGUF file is the model: what it is asked, what is right, and how far off its type may be."""

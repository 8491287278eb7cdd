"""The model of a run: loaded, made trainable, its loss, and the weights that it leaves."""

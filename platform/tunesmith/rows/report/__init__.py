"""Reports on a whole data file and on single rows, before anything is trained on them."""

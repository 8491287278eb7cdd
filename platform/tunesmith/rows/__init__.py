"""From a data file to the tokens that are trained: reading, checking, rendering, masking."""

"""From a data file to the batches of a step: tokens, their cache, packing, padding, the order."""

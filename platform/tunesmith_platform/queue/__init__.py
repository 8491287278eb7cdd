"""Who of the tasks is on the cluster, who waits, and who looks after them."""

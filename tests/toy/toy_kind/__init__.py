"""A kind of task in a package of its own: it counts, and saves how far it came."""

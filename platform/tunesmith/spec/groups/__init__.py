"""The parameters of a training task, one module a section of the form."""

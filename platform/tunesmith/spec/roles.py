"""What a parameter does, as far as others ask: caches, estimates, templates, new stages, the look at paths.

A role is said where the parameter is declared (`param(roles=...)`); whoever needs the parameters of a role asks
`parameter.names_with`, and keeps no list of names. Knows roles; knows nothing of any single parameter.
"""

from enum import StrEnum


class Role(StrEnum):
    """One thing that a parameter decides or stands for; a parameter has any number of them."""

    TEXT = "text"
    """Decides which text a row becomes, or what of it is learned. Part of the key of whatever was read of rows or
    encoded; an evaluation encodes its rows with the training's value."""

    ROWS = "rows"
    """Decides which rows are left out while a file is read (not which of those are drawn afterwards). Counts as `TEXT`
    does."""

    LENGTH = "length"
    """Decides how many of a row's tokens are kept. Counts as `TEXT` does, but for token counts: they are taken before
    the cut, so that another length costs nothing."""

    TOKENIZER = "tokenizer"
    """Names whose tokenizer turns text into tokens, where it is not the model's own."""

    KEYED_BY_CONTENT = "keyed_by_content"
    """Names something whose content is what counts: a column, a template, a tokenizer. The cache of tokens knows what
    the name led to and makes its key of that; a key that is made before anything is read holds the name."""

    NUMERICS = "numerics"
    """Decides which numbers a model computes from the same tokens: formats, quantisation, attention, which rows share a
    sequence, the seed. An evaluation computes with the training's value."""

    QUANTIZES = "quantizes"
    """Keeps the base's weights in fewer bits under an adapter. Off where a whole model is used."""

    NO_STEP_COST = "no_step_cost"
    """Changes neither the memory nor the time of a training step: a measurement holds whatever its value. Every other
    parameter is part of a measurement's key."""

    STATE = "state"
    """Decides what the state in a checkpoint is a state of: a run under another value is another model, or another
    optimizer, and does not go on from it. LoRA's shape says nothing here: a checkpoint's own configuration has it."""

    PLACE = "place"
    """Names the model, the data or a folder of the task at hand. A template leaves it out unless it is told not to."""

    ONE_TASK = "one_task"
    """Says where a task wrote or what it started from. A new stage does not take it over."""

    RESOLVED = "resolved"
    """Names a path that has a look of its own at submit. Every other path is held against the allowed folders."""

    NAME = "name"
    """Names a path, or what is pulled, stored or built in by its name: what is no path is not looked at as one."""

    DATASET = "dataset"
    """Names rows: a file, or a data set."""


ASSUMED = frozenset({Role.TEXT})
"""What is assumed of a parameter that says nothing of its roles. So it is part of every key, a measurement's too, its
path is looked at, and no value that somebody chose is left out unseen: forgetting costs time, not a wrong result."""

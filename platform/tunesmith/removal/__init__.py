"""The one place that removes folders, and what it must prove before it does.

What we made says so. A **result** (a checkpoint, a model) carries its manifest with the id of the task that wrote it;
anything else (scratch, staging, caches) carries a **mark**, a small file with its owner's name, written when the folder
is made. A folder from before there were marks is ours where its path holds the random id that we gave its owner.
Whatever cannot be proven is refused by name and left as it is. No link is ever followed, and of a result only the files
that its manifest names go: what a user laid beside them stays.

Knows folders and storages; knows nothing of tasks.
"""

from tunesmith.removal.files import continued_file, discard_file, new_file, part_of, refuse_there
from tunesmith.removal.folders import discard, remove_empty, remove_own
from tunesmith.removal.ownership import (
    MARK,
    claim,
    is_free,
    is_own,
    lies_in_own,
    owner_of,
    require_place,
    writer_of,
)
from tunesmith.removal.results import finish_removals, lay, remove_result, staged
from tunesmith.removal.stored import claim_storage, remove_names, remove_stored, result_in

__all__ = [
    "MARK",
    "claim",
    "claim_storage",
    "continued_file",
    "discard",
    "discard_file",
    "finish_removals",
    "is_free",
    "is_own",
    "lay",
    "lies_in_own",
    "new_file",
    "owner_of",
    "part_of",
    "refuse_there",
    "remove_empty",
    "remove_names",
    "remove_own",
    "remove_result",
    "remove_stored",
    "require_place",
    "result_in",
    "staged",
    "writer_of",
]

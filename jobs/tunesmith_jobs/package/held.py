"""Which weights the files of a package hold, so that chats know them by the same name and take their proofs.

Knows folders and orders; knows no file of a package.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tunesmith.events import PackageMade
from tunesmith.gguf import FileType
from tunesmith.model_folder import ADAPTER_CONFIG
from tunesmith.model_folder.identity import folder_print, weights_of
from tunesmith.model_step import ModelDocument
from tunesmith_jobs.models.llama_cpp import version
from tunesmith_jobs.package.files import Order


def held_by(
    document: ModelDocument,
    orders: Sequence[Order],
    folders: tuple[Path, Path],
    lora_over: FileType | None,
    *,
    is_ours: bool = True,
) -> dict[str, dict[str, str]]:
    """What `PackagedFile` says of each file's weights, by the orders' names.

    Args:
        document: What the attempt was handed.
        orders: The files.
        folders: What was packaged, on this machine; and its base, which is the same for a whole model.
        lora_over: The type of the base's file over which an adapter's was proven.
        is_ours: Whether we wrote them, as chats write theirs.
    """
    given, base = folders
    own = weights_of(given, is_saved=document.origin.task_id is not None)
    is_adapter = (given / ADAPTER_CONFIG).is_file()
    found: dict[str, dict[str, str]] = {}
    for order in orders:
        if order.is_lora:
            # Chats lay it over a base in F16.
            found[order.name] = {"served_like": own if lora_over is FileType.F16 else ""}
            continue
        held = own if order.with_adapter or not is_adapter else folder_print(base)
        is_whole = is_ours and order.type is FileType.F16 and not order.with_adapter
        source = document.model_uri if held is own else str(base)
        found[order.name] = {"weights": held, "source": source, "served_like": held if is_whole else ""}
    return found


def with_weights(made: PackageMade, held: Mapping[str, Mapping[str, str]]) -> PackageMade:
    """What was made, with which weights each file holds.

    Args:
        made: What was made.
        held: See `held_by`, by the files' own names.
    """
    files = [file.model_copy(update=dict(held.get(file.name, {}))) for file in made.files]
    return made.model_copy(update={"files": files, "version": version()})

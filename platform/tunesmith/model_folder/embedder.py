"""Whether a folder is a sentence-transformers model that can be read, and how it pools. Loads nothing."""

import json
from pathlib import Path
from typing import Literal

from tunesmith.errors import InvalidModel
from tunesmith.model_folder.configuration import refuse_code
from tunesmith.model_folder.contents import is_plain_file
from tunesmith.model_folder.files import MAX_CONFIG_BYTES, check_tokenizer_folder, weight_files
from tunesmith.model_folder.problems import bad
from tunesmith.rows.files.json_file import read_object

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_MOST = 1024**2
"""Bytes that a list of modules may have."""
_HINT = "Choose another sentence-transformers folder."


def check_embedder_folder(folder: Path) -> None:
    """See that texts can become vectors by a folder's model.

    Raises:
        InvalidModel: With what is missing, or cannot be read.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise bad(f"`{folder}` has no `{file.name}`.", _HINT, "embedder")
    config = read_object(file, MAX_CONFIG_BYTES)
    refuse_code(config, file.name)
    architectures = config.get("architectures")
    is_writer = isinstance(architectures, list) and any(
        str(one).endswith("CausalLM") for one in architectures
    )
    if is_writer and not (folder / "modules.json").is_file():
        raise bad(
            f"`{folder}` is a model that writes text: its vectors say little of likeness.", _HINT, "embedder"
        )
    check_tokenizer_folder(folder)
    weight_files(folder)
    embedder_pooling(folder)


def embedder_pooling(folder: Path) -> Literal["mean", "cls"]:
    """How a folder pools; `mean` where it does not say.

    Raises:
        InvalidModel: Otherwise than by the mean or the first token, or it has further modules.
    """
    modules = folder / "modules.json"
    if is_plain_file(modules):
        try:
            if modules.stat().st_size > _MOST:
                raise ValueError
            listed = json.loads(modules.read_text(encoding="utf-8"))
            names = [str(one["type"]).rpartition(".")[2] for one in listed]
            first = str(listed[0].get("path", ""))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            raise InvalidModel(f"`{modules}` is no list of modules.", field="embedder", hint=_HINT) from None
        if names not in _MODULES or first:
            raise InvalidModel(
                f"`{folder}` is made of {', '.join(names)}: only a transformer with pooling can be read.",
                field="embedder",
                hint=_HINT,
            )
    pooling = folder / "1_Pooling" / "config.json"
    if not is_plain_file(pooling):
        return "mean"
    said = read_object(pooling)
    ways = [key for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
    ways += [f"pooling_mode_{said['pooling_mode']}"] if isinstance(said.get("pooling_mode"), str) else []
    if ways in (["pooling_mode_mean_tokens"], ["pooling_mode_mean"]):
        return "mean"
    if ways in (["pooling_mode_cls_token"], ["pooling_mode_cls"]):
        return "cls"
    raise InvalidModel(
        f"`{folder}` pools in a way that cannot be read: only the mean and the first token can.",
        field="embedder",
        hint=_HINT,
    )

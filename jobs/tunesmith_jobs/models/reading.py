"""The one place where a library opens what a stranger may have written: a model's folder, its tokenizer, torch's files.

The library is never shown the folder itself. It gets one made for it, with links to the weights that the index names
and configurations of the keys on the list: whatever else lies there (an adapter, programs, other weights, another
library's checkpoint) does not exist for it. Every choice of implementation is passed here. Knows transformers and
torch; knows nothing of training.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidModel
from tunesmith.model_folder import (
    INDEX,
    TOKENIZER_FILES,
    WEIGHTS,
    is_plain_file,
    readable_config,
    readable_generation,
    weight_files,
)
from tunesmith.rows.chat.template import TOKENIZER_CONFIG
from tunesmith.rows.files.json_file import read_object

CONFIG, GENERATION = "config.json", "generation_config.json"
CLASS_HEADS = (
    "classifier",
    "score",
    "pooler",
    "pooler.dense",
    "pre_classifier",
    "sequence_summary.summary",
    "head.dense",
    "head.norm",
)
"""What transformers calls the layers that a classifier has and its base has not: made anew, they are not quantised."""
_CLOSED = {
    "trust_remote_code": False,
    "local_files_only": True,
    "use_safetensors": True,
    "weights_only": True,
    "use_kernels": False,
    "allow_all_kernels": False,
    # What the folder says of it is not shown; with none the library takes its own best.
    "attn_implementation": None,
    "experts_implementation": None,
}

_TOKENIZER_CLASS = re.compile(r"\w*Tokenizer(Fast)?|TokenizersBackend|PythonBackend|SentencePieceBackend")
"""What a folder may name as its tokenizer's class: the library takes any class of its own by its name."""
_PLACES = re.compile(r".*_file|.*name_or_path|auto_map|processor_class|tokenizer_type|backend|gguf_.*")
"""Keys of a tokenizer's configuration that name files, places or other classes."""


def stay_offline() -> None:
    """Let no library of this process ask the hub, for weights or for programs. To be called before their imports."""
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),  # nothing is fetched while training
        ("TRANSFORMERS_OFFLINE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("USE_HUB_KERNELS", "NO"),
    ):
        os.environ.setdefault(name, value)


def _link(file: Path, target: Path) -> None:
    target.symlink_to(file.absolute())


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n")


def lay_out(folder: Path, target: Path, place: Callable[[Path, Path], object] = _link) -> None:
    """Lay out what is read of a whole model: its configurations of listed keys, links to the weights, their index.

    Args:
        folder: The model.
        target: An empty folder.
        place: Brings a weight file to its place; a symbolic link when not given.

    Raises:
        InvalidModel: A file is missing, is none itself (a link, a pipe), or says what is refused.
    """
    _write(target / CONFIG, readable_config(_object(folder / CONFIG)))
    if (folder / GENERATION).exists():
        _write(target / GENERATION, readable_generation(_object(folder / GENERATION)))
    files = weight_files(folder)
    for file in files:
        _refuse_no_file(file)
        place(file, target / file.name)
    if files[0].name != WEIGHTS:
        found = _object(folder / INDEX)["weight_map"]
        size = sum(file.stat().st_size for file in files)
        _write(target / INDEX, {"metadata": {"total_size": size}, "weight_map": found})


@contextlib.contextmanager
def _laid_out(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tunesmith-model-") as scratch:
        lay_out(folder, Path(scratch))
        yield Path(scratch)


def load_model(folder: Path, labels: Sequence[str] | None = None, **options: Any) -> Any:
    """A causal language model from its folder, or one that classifies.

    Args:
        folder: The model.
        labels: The classes' names in the order of their numbers, where it is to classify. Which modules its file has
            not, and chance made, is then in the model's `made_anew`.
        options: Of the library's `from_pretrained`: the precision, the attention, a quantisation.

    Raises:
        InvalidModel: The folder is refused.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    if labels is not None:
        options = options | {
            "id2label": dict(enumerate(labels)),
            "label2id": {name: i for i, name in enumerate(labels)},
        }
    with _laid_out(folder) as place:
        model, report = kind.from_pretrained(str(place), **(_CLOSED | options), output_loading_info=True)
    if labels is not None:
        model.made_anew = sorted({key.rpartition(".")[0] for key in report["missing_keys"]})
        _refuse_gaps(folder, model.made_anew)
    # What is saved names the model, not the place that was made for it.
    model.name_or_path = model.config.name_or_path = str(folder)
    return model


def _refuse_gaps(folder: Path, made_anew: Sequence[str]) -> None:
    """See that a file lacks nothing of a classifier but its head, which is trained.

    Raises:
        InvalidModel: It does: what is made of chance would be kept.
    """
    for path in made_anew:
        if not any(f".{head}." in f".{path}." for head in CLASS_HEADS):
            raise InvalidModel(
                f"`{folder}` lacks weights of its model: `{path}`.",
                hint="Copy its files from the original folder.",
                field=CONFIG,
            )


def load_encoder(folder: Path) -> Any:
    """A model that embeds texts, in fp32, from its folder: what gives hidden states, without a head.

    Raises:
        InvalidModel: The folder is refused, or no weights of a model without a head are in it.
    """
    import torch
    from transformers import AutoModel

    with _laid_out(folder) as place:
        try:
            model, report = AutoModel.from_pretrained(
                str(place), **_CLOSED, dtype=torch.float32, output_loading_info=True
            )
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise InvalidModel(
                f"`{folder}` cannot be loaded as an embedder: {error}.", field=CONFIG
            ) from error
    # A pooler is made of chance where the file has none, and is not asked.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InvalidModel(
            f"`{folder}` lacks weights of its embedder: `{missing[0]}`.",
            hint="Copy its files from the original folder.",
            field=CONFIG,
        )
    return model


def read_tokenizer(folder: Path, config: Mapping[str, str]) -> Any:
    """A folder's tokenizer as `AutoTokenizer` makes it.

    Args:
        folder: Where its files lie.
        config: What decides its class besides: of `config.json`, `model_type` and `tokenizer_class`; empty where there
            is no such file.

    Raises:
        InvalidModel: The folder names what is no tokenizer's class.
        Exception: Whatever the library raises where it cannot load it.
    """
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="tunesmith-tokenizer-") as scratch:
        place = Path(scratch)
        for name in TOKENIZER_FILES:
            if is_plain_file(folder / name) and name != TOKENIZER_CONFIG:
                _link(folder / name, place / name)
        if (folder / TOKENIZER_CONFIG).exists():
            found = _object(folder / TOKENIZER_CONFIG)
            _refuse_class(found.get("tokenizer_class"), folder)
            _write(
                place / TOKENIZER_CONFIG,
                {key: value for key, value in found.items() if not _PLACES.fullmatch(key)},
            )
        if config:
            _refuse_class(config.get("tokenizer_class"), folder)
            _write(place / CONFIG, dict(config))
        return AutoTokenizer.from_pretrained(str(place), trust_remote_code=False, local_files_only=True)


def _refuse_class(name: object, folder: Path) -> None:
    if name is not None and not (isinstance(name, str) and _TOKENIZER_CLASS.fullmatch(name)):
        raise InvalidModel(
            f"`{folder}` names `{name}` as its tokenizer's class, which is none.",
            hint="Copy the tokenizer's files from the original model folder.",
            field=TOKENIZER_CONFIG,
        )


def load_gguf(file: Path) -> tuple[Any, Any]:
    """The model and the tokenizer of a GGUF file that came with a package of the package index, widened to fp32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    closed = {"trust_remote_code": False, "local_files_only": True}
    tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **closed)
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, **closed
    )
    return model, tokenizer


def read_torch(file: Path) -> Any:
    """What torch wrote into a checkpoint of this task before such states were safetensors: tensors and numbers alone.

    Only for a file whose hash was compared with this task's own manifest.

    Raises:
        ValueError: It holds anything else.
    """
    import codecs
    import pickle

    import numpy as np
    import torch
    from numpy._core.multiarray import _reconstruct  # what a random state's array is made of

    trusted = [_reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32)), codecs.encode]
    try:
        with torch.serialization.safe_globals(trusted):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"`{file.name}` holds more than numbers") from error


def _object(file: Path) -> dict[str, Any]:
    _refuse_no_file(file)
    return read_object(file)


def _refuse_no_file(file: Path) -> None:
    if not is_plain_file(file):
        what = "is a link or a pipe, no file" if os.path.lexists(file) else "is not there"
        raise InvalidModel(f"`{file}` {what}.", hint="Copy the file itself to that place.", field=file.name)

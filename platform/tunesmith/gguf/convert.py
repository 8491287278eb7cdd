"""A whole model's GGUF file from a folder as transformers writes it.

What comes of it is decided from headers and JSON (`plan_gguf`); then tensor by tensor is read, an adapter added in fp32
where one is given, encoded and written: in one pass, with no file between.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import NotConvertible
from tunesmith.gguf.architectures import HEAD, Architecture, Part, Tensor, architecture_of
from tunesmith.gguf.file import Content, Progress, Value, Written, write_file
from tunesmith.gguf.importance import Importance
from tunesmith.gguf.kernels import require_kernels
from tunesmith.gguf.lora import added_by
from tunesmith.gguf.mix import Choice, Sizes, choose, counted
from tunesmith.gguf.problems import cannot
from tunesmith.gguf.tensors import STORED_TYPES, Planned, Stored, stored_tensors
from tunesmith.gguf.tokenizer import vocabulary_of
from tunesmith.gguf.types import FileType, TensorType
from tunesmith.model_folder import check_model_folder, public_name, read_config, weight_files
from tunesmith.model_folder.configuration import CONFIG
from tunesmith.spec.base import Notice

_QUANTIZATION_VERSION = 2
_IGNORED = ("rotary_emb.inv_freq",)
"""Ends of names of what older folders hold besides: it is computed."""


class ModelPlan(NamedTuple):
    """What a model's file will hold, before any weights are read."""

    architecture: str
    metadata: dict[str, Value]
    tensors: tuple[Planned, ...]
    notices: tuple[Notice, ...]
    fallbacks: dict[str, int]
    """How many matrices get another type than the file's rules want, by `wanted -> type`: rows of another width."""

    @property
    def bytes(self) -> int:
        """Of all tensors: the file is larger by its words and by a few bytes a tensor."""
        return sum(tensor.bytes for tensor in self.tensors)


def plan_gguf(
    folder: str | Path,
    file_type: FileType = FileType.F16,
    *,
    tokenizer: str | Path | None = None,
    adapter: str | Path | None = None,
    matrix: Importance | None = None,
) -> ModelPlan:
    """See what comes of a model as a GGUF file, and whether anything does: reads headers and JSON, no weights.

    Args:
        folder: The model: `config.json`, safetensors, and its tokenizer.
        file_type: What its matrices are stored as.
        tokenizer: Another folder whose tokenizer and chat template are written, and whose generation settings, where
            it has them.
        adapter: The folder of a LoRA that is added to the model's matrices, in fp32, as they are written.
        matrix: How much the numbers of each matrix matter; quantised ones are rounded accordingly.

    Raises:
        InvalidModel: The folder is none of a model, or not whole.
        InvalidInput: The adapter's folder is none of a LoRA.
        NotConvertible: Something of it has no place in the file, or llama.cpp would compute something else.
        NotInstalled: The package `gguf` is not; or llama.cpp's kernels, for a quantised file.
    """
    folder = Path(folder)
    if file_type.is_quantised:
        require_kernels()
    words = Path(tokenizer) if tokenizer else folder
    check_model_folder(folder, needs_tokenizer=words == folder)
    config = read_config(folder)
    architecture = architecture_of(config)
    stored = stored_tensors(weight_files(folder))
    if file_type.needs_matrix and matrix is None:
        raise cannot(
            "importance_matrix",
            f"is not given, and `{file_type}` needs one: without it such a file answers nonsense",
            file="parameters",
            hint="Give a matrix, or take `IQ3_S`, `Q3_K_M` or `Q2_K`, the smallest that need none.",
        )
    if file_type.needs_matrix and matrix is not None and matrix.is_to_come and architecture.experts:
        raise cannot(
            "num_experts",
            f"has experts, of which no importance matrix is computed, and `{file_type}` needs one",
            file=CONFIG,
            hint="Take `IQ3_S`, `Q3_K_M` or `Q2_K`, the smallest that need none.",
        )
    # First, so the words are as many as there are rows.
    planned = _planned(architecture, stored, file_type, matrix)
    if adapter is not None:
        added = added_by(Path(adapter), architecture)
        planned = [
            each._replace(added=added.get(each.source.name)) if each.source else each for each in planned
        ]
    vocabulary = vocabulary_of(words, folder, config, architecture.words)
    metadata: dict[str, Value] = {
        "general.type": "model",
        "general.name": vocabulary.named(public_name(folder)),
        "general.file_type": file_type.number,
        "general.quantization_version": _QUANTIZATION_VERSION,
    }
    return ModelPlan(
        architecture.word,
        metadata | architecture.metadata | vocabulary.metadata,
        tuple(planned),
        architecture.notices + vocabulary.notices,
        counted(_choices(architecture, file_type, has_matrix=matrix is not None)),
    )


class Forecast(NamedTuple):
    """What files of a model would take, before any is made."""

    sizes: dict[str, int]
    """Bytes of all tensors by the file's type; a file is larger by its words."""
    cache_bytes: int
    """Of the keys and values of one token, in 16 bits, as llama.cpp keeps them."""
    words: int
    context: int
    """Tokens that the model is for."""


def forecast(folder: str | Path) -> Forecast:
    """See what files of a model would take in every type: reads headers and JSON.

    Types that are rounded by an importance matrix where there is one are told as without, if they need none.

    Raises:
        InvalidModel: The folder is none of a model, or not whole.
        NotConvertible: Something of it has no place in a file.
        NotInstalled: The package `gguf` is not.
    """
    folder = Path(folder)
    check_model_folder(folder, needs_tokenizer=False)
    architecture = architecture_of(read_config(folder))
    tensors = architecture.tensors()
    names, sizes = architecture.names_in_file(tensors), _sizes(architecture)

    def taken(file_type: FileType) -> int:
        found = 0
        for name, tensor in tensors.items():
            kind, numbers = TensorType.F32, math.prod(tensor.shape)
            if _is_matrix(tensor):
                has_matrix = file_type.needs_matrix
                kind = choose(names[name], tensor.shape[-1], file_type, sizes, has_matrix=has_matrix).type
            found += numbers // kind.block.numbers * kind.block.bytes
        return found

    def said(key: str) -> int:
        return int(architecture.metadata.get(f"{architecture.word}.{key}", 0))  # type: ignore[arg-type]

    heads = architecture.kv_heads * (said("attention.key_length") + said("attention.value_length"))
    return Forecast(
        {kind.value: taken(kind) for kind in FileType},
        2 * architecture.layers * heads,
        architecture.words,
        said("context_length"),
    )


def write_gguf(
    folder: str | Path,
    target: str | Path,
    file_type: FileType = FileType.F16,
    progress: Progress | None = None,
    *,
    tokenizer: str | Path | None = None,
    adapter: str | Path | None = None,
    matrix: Importance | None = None,
    split_bytes: int | None = None,
) -> Written:
    """Write a model as a GGUF file: all of it or nothing, on the disk before this returns.

    Takes some megabytes of memory and the file's own bytes of disk.

    Args:
        folder: See `plan_gguf`.
        target: The file; must not be there yet.
        file_type: See `plan_gguf`.
        progress: Told how far it is; what it raises ends the writing.
        tokenizer: See `plan_gguf`.
        adapter: See `plan_gguf`.
        matrix: See `plan_gguf`.
        split_bytes: What a file may have: a larger model becomes several (`split`), told by the first.

    Raises:
        InvalidModel: See `plan_gguf`; or a file of weights ends too early.
        InvalidInput: See `plan_gguf`.
        NotConvertible: See `plan_gguf`; or a weight is no number, or too large for the type.
        NotInstalled: See `plan_gguf`.
        NotOurs: Something has that name already.
        OSError: The system does not take it.
    """
    plan = plan_gguf(folder, file_type, tokenizer=tokenizer, adapter=adapter, matrix=matrix)
    content = Content(plan.architecture, plan.metadata, plan.tensors)
    return write_file(Path(target), content, plan.notices, progress, split_bytes)


def _planned(
    architecture: Architecture,
    stored: Mapping[str, Stored],
    file_type: FileType,
    matrix: Importance | None,
) -> list[Planned]:
    """The file's tensors, each found in the folder with the size that the configuration says.

    Raises:
        NotConvertible: One lacks, has another size or type, or has no place in the file.
    """
    tensors = architecture.tensors()
    lies = {name: tensor.way_in(stored.keys()) for name, tensor in tensors.items()}
    read = {part.name for way in lies.values() for part in way}
    ignored = {HEAD} if architecture.ties_ends else set()
    for name in stored:
        if name not in read and name not in ignored and not name.endswith(_IGNORED):
            raise NotConvertible(
                f"`{name}` has no place in a GGUF file of `{architecture.word}`.", field=name
            )
    names = architecture.names_in_file(tensors)
    found = []
    for name, tensor in tensors.items():
        sources = tuple(_checked(part, stored.get(part.name)) for part in lies[name])
        kind, matters = TensorType.F32, None
        if _is_matrix(tensor):
            width, has_matrix = tensor.shape[-1], matrix is not None
            kind = choose(names[name], width, file_type, _sizes(architecture), has_matrix=has_matrix).type
            matters = matrix.of(names[name], width, kind) if matrix is not None else None
        planned = Planned(names[name], tensor.shape, kind, sources, tensor.heads, plus=tensor.plus)
        found.append(planned._replace(importance=matters))
    for name, factors in architecture.factors.items():
        found.insert(1, Planned(name, (len(factors),), TensorType.F32, (), values=factors))
    return found


def _is_matrix(tensor: Tensor) -> bool:
    return len(tensor.shape) > 1 and not tensor.is_exact


def _sizes(architecture: Architecture) -> Sizes:
    per_kv = architecture.heads // architecture.kv_heads
    is_70b = architecture.model_type == "llama" and architecture.layers == 80 and per_kv == 8
    return Sizes(architecture.layers, per_kv, architecture.is_tied, is_70b, architecture.experts)


def _choices(architecture: Architecture, file_type: FileType, *, has_matrix: bool) -> list[Choice]:
    sizes, tensors = _sizes(architecture), architecture.tensors()
    names = architecture.names_in_file(tensors)
    return [
        choose(names[name], tensor.shape[-1], file_type, sizes, has_matrix=has_matrix)
        for name, tensor in tensors.items()
        if _is_matrix(tensor)
    ]


def _checked(part: Part, source: Stored | None) -> Stored:
    name = part.name
    if source is None:
        raise NotConvertible(f"The folder has no `{name}`, which `config.json` asks for.", field=name)
    if source.shape != part.shape:
        raise NotConvertible(
            f"`{name}` is {list(source.shape)} in the folder and {list(part.shape)} by `config.json`.",
            field=name,
        )
    if source.dtype not in STORED_TYPES:
        raise NotConvertible(
            f"`{name}` is stored as {source.dtype}: weights are read as F32, F16 or BF16.",
            hint="Give the original, unquantised folder.",
            field=name,
        )
    return source.rows(part.begin, part.rows) if part.rows else source

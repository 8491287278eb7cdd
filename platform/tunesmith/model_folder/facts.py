"""What a model folder's files say together: its size, its layers, its kind."""

import collections
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import InvalidInput, Problem
from tunesmith.model_folder.class_heads import is_left_out
from tunesmith.model_folder.encoders import sees_later_tokens
from tunesmith.model_folder.files import (
    TOKENIZER,
    check_index,
    read_config,
    refuse_other_formats,
    tokenizer_kind,
    weight_files,
)
from tunesmith.model_folder.layers import OWN_HEAD, is_buffer, is_head, is_linear, split
from tunesmith.model_folder.license import license_name
from tunesmith.model_folder.problems import bad
from tunesmith.model_folder.safetensors import Tensor, read_safetensors_header
from tunesmith.rows.chat.template import find_template
from tunesmith.spec.groups.lora import ALL_LINEAR
from tunesmith.spec.problems import did_you_mean

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""What configurations call the tokens that a model reads at most."""
IS_EXPERT = re.compile(r"\bexperts\.\d+\.")
"""What the path of an expert's own matrix holds."""
_STACKED = re.compile(r"expert|moe|(in|out)put_linear")


def context_length(config: Mapping[str, Any]) -> int | None:
    """How many tokens a model reads at most, as its configuration says, or that of its text; None where it does not."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        for name in CONTEXT_NAMES:
            value = part.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


class LinearLayers(BaseModel):
    """The linear layers of one name and one shape."""

    model_config = ConfigDict(frozen=True)
    name: str
    shape: tuple[int, int] = Field(description="As stored; of most models (out, in).")
    count: int
    experts: int = Field(0, description="How many of them are an expert's own (`experts.<number>.`).")


class ModelFacts(BaseModel):
    """What a model folder's files say."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())
    path: str
    architecture: str = Field(description="The class that transformers loads, e.g. `LlamaForCausalLM`.")
    model_type: str
    parameters: int = Field(description="Numbers in all weights.")
    dtype: str = Field(description="The type of most weights: `bfloat16`, `float16`, `float32`.")
    context_length: int | None = Field(
        description="Tokens that the model was made for, where the config says so."
    )
    vocab_size: int
    linear_modules: tuple[str, ...] = Field(description="Names of the linear layers that can get a LoRA.")
    linear_layers: tuple[LinearLayers, ...] = Field((), description="The same with their shapes.")
    is_head_tied: bool = Field(False, description="Whether the output head is the embedding's own matrix.")
    tokenizer: str = Field("", description="Its kind: `BPE`, `Unigram`, `WordPiece`, `WordLevel`.")
    has_chat_template: bool
    other_ids: str | None = Field(
        None,
        description="Where transformers makes other ids of the folder than its `tokenizer.json` says, and what to do; "
        "empty where it does not, null where that was not compared (`tunesmith models check` does).",
    )
    license: str | None = Field(
        None, description="Its name, from `README.md`'s front matter or the license file's first line."
    )
    bytes: int = Field(description="Bytes of the weight files.")
    weight_files: tuple[str, ...]
    has_stacked_experts: bool = Field(
        False, exclude=True, description="Whether the file itself holds experts in one tensor a layer."
    )
    sees_later_tokens: bool = Field(
        False, exclude=True, description="Whether a place in a text sees what comes behind it."
    )
    modules: dict[str, tuple[int, int]] = Field(
        {},
        exclude=True,
        repr=False,
        description="Every module with a matrix, embeddings and head included: its path, and the matrix as stored.",
    )
    biases: dict[str, int] = Field(
        {}, exclude=True, repr=False, description="Biases: their names in the file, and their numbers."
    )

    stacked: dict[str, tuple[int, int, int]] = Field(
        {},
        exclude=True,
        repr=False,
        description="Tensors of a matrix of every expert: their names in the file.",
    )
    left_out: int = Field(
        0, exclude=True, description="Of `parameters`, those that a classifier made of the model has not."
    )

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear layers' paths with their matrices as stored; the output head is none."""
        return {
            path: shape for path, shape in self.modules.items() if is_linear(path, shape, self.vocab_size)
        }

    def aside(self) -> dict[str, Any]:
        """What a dump leaves out, for who needs all of it in another process."""
        return {name: getattr(self, name) for name, field in type(self).model_fields.items() if field.exclude}


def check_model_folder(path: str | Path, *, needs_tokenizer: bool = True) -> ModelFacts:
    """Read what a model folder holds.

    Args:
        path: The folder.
        needs_tokenizer: Whether it must hold a tokenizer: it need not where another folder's is used.

    Raises:
        InvalidModel: It cannot be trained; says why, and how to get one that can.
    """
    folder = Path(path)
    refuse_other_formats(folder)
    config = read_config(folder)
    files = weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_safetensors_header(file)
    check_index(folder, tensors, files)
    has_tokenizer = needs_tokenizer or (folder / TOKENIZER).exists()
    tokenizer = tokenizer_kind(folder) if has_tokenizer else ""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    merged: dict[str, Any] = {**(text or {}), **config}
    vocab_size = merged.get("vocab_size")
    if not isinstance(vocab_size, int):
        raise bad(
            "`config.json` has no `vocab_size`.", "Copy it from the original model folder.", "config.json"
        )
    kind = str(config["model_type"])
    trained = {
        name: tensor
        for name, tensor in tensors.items()
        if not is_buffer(name, tensor.shape, tensor.dtype, kind)
    }
    sizes: dict[str, int] = {}
    for tensor in trained.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + math.prod(tensor.shape)
    main = max(sizes, key=lambda name: sizes[name], default="F32")
    modules = {
        path: shape
        for name, tensor in trained.items()
        if name.endswith(".weight") and len(tensor.shape) == 2
        for path, shape in split(name.removesuffix(".weight"), (tensor.shape[0], tensor.shape[1]), kind)
    }
    layers = {path: shape for path, shape in modules.items() if is_linear(path, shape, vocab_size)}
    linear = collections.Counter((_last(path), shape) for path, shape in layers.items())
    of_experts = collections.Counter(
        (_last(path), shape) for path, shape in layers.items() if IS_EXPERT.search(path)
    )
    heads = [shape for path, shape in modules.items() if is_head(path, shape, vocab_size)]
    is_asked_tied = merged.get("tie_word_embeddings") is True and kind not in OWN_HEAD
    is_tied = not heads or is_asked_tied
    # A head that lies in the file though it is the embedding's own matrix is loaded once.
    doubled = sum(math.prod(shape) for shape in heads) if is_tied else 0
    return ModelFacts(
        path=str(folder),
        architecture=config["architectures"][0],
        model_type=kind,
        parameters=sum(sizes.values()) - doubled,
        dtype=_DTYPES.get(main, main.lower()),
        context_length=context_length(merged),
        vocab_size=vocab_size,
        linear_modules=tuple(sorted({name for name, _ in linear})),
        linear_layers=tuple(
            LinearLayers(name=name, shape=shape, count=count, experts=of_experts[name, shape])
            for (name, shape), count in sorted(linear.items())
        ),
        is_head_tied=is_tied,
        tokenizer=tokenizer,
        has_chat_template=find_template(folder) is not None,
        license=license_name(folder),
        bytes=sum(file.stat().st_size for file in files),
        weight_files=tuple(file.name for file in files),
        has_stacked_experts=any(
            len(tensor.shape) == 3 and _STACKED.search(name) for name, tensor in tensors.items()
        ),
        sees_later_tokens=sees_later_tokens(config),
        modules=dict(sorted(modules.items())),
        stacked={
            name: (tensor.shape[0], tensor.shape[1], tensor.shape[2])
            for name, tensor in trained.items()
            if len(tensor.shape) == 3
        },
        left_out=sum(math.prod(tensor.shape) for name, tensor in trained.items() if is_left_out(name))
        - doubled,
        biases={name: math.prod(tensor.shape) for name, tensor in trained.items() if name.endswith(".bias")},
    )


def check_targets(facts: ModelFacts, target_modules: list[str]) -> None:
    """Whether every LoRA target names a module of the model, as peft matches them.

    A name matches a module's whole path, or its end at a dot (`q_proj`, `self_attn.q_proj`). `all-linear` takes every
    linear layer and stands alone.

    Raises:
        InvalidInput: Some names match nothing; says which, what exists, and what was probably meant.
    """
    if target_modules == [ALL_LINEAR]:
        return
    field = "target_modules"
    exists = ", ".join(f"`{name}`" for name in facts.linear_modules)
    if not target_modules or ALL_LINEAR in target_modules:
        message = "`all-linear` stands alone." if target_modules else "`target_modules` is empty."
        raise InvalidInput(message, hint=f"Use `all-linear`, or some of: {exists}.", field=field)
    ends = {
        ".".join(parts[begin:])
        for parts in (module.split(".") for module in facts.modules)
        for begin in range(len(parts))
    }
    missing = [name for name in target_modules if name not in ends]
    if not missing:
        return
    problems = []
    for name in missing:
        meant = did_you_mean(name, facts.linear_modules)
        problems.append(
            Problem(
                field=field,
                message=f"The model has no linear layer `{name}`.",
                hint=f"Did you mean `{meant}`?" if meant else f"It has: {exists}.",
            )
        )
    names = ", ".join(f"`{name}`" for name in missing)
    raise InvalidInput(
        f"`target_modules`: `{facts.architecture}` has no layer named {names}.",
        hint=f"It has: {exists}. `all-linear` takes them all.",
        problems=problems,
        details={"missing": missing, "linear_modules": list(facts.linear_modules)},
    )


def _last(module: str) -> str:
    return module.rpartition(".")[2]

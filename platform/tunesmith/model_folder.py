"""Whether a folder is a model that can be trained, told from its files alone: config, tokenizer, safetensors headers.

Knows file formats and their usual defects. Loads no weights, imports no torch, runs no code from the folder.
"""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import InvalidInput, InvalidModel, Problem
from tunesmith.rows.json_file import is_lfs_pointer, lfs_pointer, read_object
from tunesmith.rows.template import find_template
from tunesmith.spec.parameter import did_you_mean

MAX_HEADER_BYTES = 100 * 1024**2
ALL_LINEAR = "all-linear"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
}  # fmt: skip
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_NOT_CAUSAL = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForPreTraining",
)
_GGUF = (
    "GGUF is a format for answering, not for training.",
    "Give the original folder with `config.json` and `*.safetensors`; a GGUF file can be made after training.",
)


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
    has_chat_template: bool
    bytes: int = Field(description="Bytes of the weight files.")
    weight_files: tuple[str, ...]
    module_paths: tuple[str, ...] = Field(
        (), exclude=True, repr=False, description="Every module with a matrix, embeddings and head included."
    )


class _Tensor(BaseModel):
    dtype: str
    shape: list[int] = Field(max_length=32)
    data_offsets: tuple[int, int]


def check_model_folder(path: str | Path) -> ModelFacts:
    """Read what a model folder holds.

    Raises:
        InvalidModel: It cannot be trained; says why, and how to get one that can.
    """
    folder = Path(path)
    _refuse_other_formats(folder)
    config = _read_config(folder)
    files = _weight_files(folder)
    tensors: dict[str, _Tensor] = {}
    for file in files:
        tensors |= read_safetensors_header(file)
    _check_index(folder, tensors, files)
    _check_tokenizer(folder)
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    merged: dict[str, Any] = {**(text or {}), **config}
    vocab_size = merged.get("vocab_size")
    if not isinstance(vocab_size, int):
        raise _bad(
            "`config.json` has no `vocab_size`.", "Copy it from the original model folder.", "config.json"
        )
    sizes: dict[str, int] = {}
    for tensor in tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + math.prod(tensor.shape)
    main = max(sizes, key=lambda name: sizes[name])
    modules = [
        name.removesuffix(".weight")
        for name, tensor in tensors.items()
        if name.endswith(".weight") and len(tensor.shape) == 2
    ]
    contexts = (merged.get(name) for name in _CONTEXT_NAMES)
    return ModelFacts(
        path=str(folder),
        architecture=config["architectures"][0],
        model_type=str(config["model_type"]),
        parameters=sum(sizes.values()),
        dtype=_DTYPES.get(main, main.lower()),
        context_length=next((value for value in contexts if isinstance(value, int)), None),
        vocab_size=vocab_size,
        linear_modules=tuple(sorted({_last(module) for module in modules if _is_linear(_last(module))})),
        has_chat_template=find_template(folder) is not None,
        bytes=sum(file.stat().st_size for file in files),
        weight_files=tuple(file.name for file in files),
        module_paths=tuple(sorted(modules)),
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
        for parts in (module.split(".") for module in facts.module_paths)
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


def read_safetensors_header(file: Path) -> dict[str, _Tensor]:
    """The tensors that a safetensors file names, checked against the file's size.

    Raises:
        InvalidModel: It is cut off, is no safetensors file, or its sizes do not add up.
    """
    cure = "The download or the copy broke off: copy the file again and compare its size with the original's."
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(64)
            if is_lfs_pointer(head):
                raise lfs_pointer(file)
            length = int.from_bytes(head[:8], "little")
            if size < 8 or not 2 <= length <= MAX_HEADER_BYTES or length > size - 8:
                raise _bad(f"`{file}` is cut off, or is no safetensors file.", cure, file.name)
            stream.seek(8)
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = {str(name): _Tensor.model_validate(entry) for name, entry in header.items()}
    except OSError as error:
        raise _bad(
            f"`{file}` cannot be read: {error.strerror}.", "Check its permissions.", file.name
        ) from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # the header is no object
        raise _bad(f"`{file}` has a broken safetensors header.", cure, file.name) from error
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        bits = _BITS.get(tensor.dtype)
        wrong = bits is not None and (end - begin) * 8 != math.prod(tensor.shape) * bits
        if begin != at or end < begin or min(tensor.shape, default=0) < 0 or wrong:
            raise _bad(f"`{file}`: the size of `{name}` does not fit its shape and place.", cure, file.name)
        at = end
    if at != size - 8 - length:
        raise _bad(f"`{file}` has {size} bytes; its header says {at + 8 + length}.", cure, file.name)
    return tensors


def _bad(message: str, hint: str, field: str | None = None) -> InvalidModel:
    return InvalidModel(message, hint=hint, field=field or "model_name_or_path")


def _refuse_other_formats(folder: Path) -> None:
    if not folder.exists():
        raise _bad(
            f"`{folder}` does not exist.", "Check the path, as the server sees it, or pull the model first."
        )
    if folder.is_file():
        if folder.suffix.lower() == ".gguf":
            raise _bad(f"`{folder}` is a GGUF file. {_GGUF[0]}", _GGUF[1])
        raise _bad(f"`{folder}` is a file, not a model folder.", "Give the folder that holds `config.json`.")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise _bad(f"`{folder}` cannot be read: {error.strerror}.", "Check its permissions.") from error
    if any(name.endswith(".safetensors") for name in names) and "config.json" in names:
        return
    if "adapter_config.json" in names:
        raise _bad(
            f"`{folder}` holds a LoRA adapter, not a whole model.",
            "Give the folder of its base model, or merge the adapter first.",
        )
    if any(name.endswith(".safetensors") or name == _INDEX for name in names):
        return  # the config is missing; said below
    if any(name.lower().endswith(".gguf") for name in names):
        raise _bad(f"`{folder}` holds only GGUF weights. {_GGUF[0]}", _GGUF[1])
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickled:
        raise _bad(
            f"`{folder}` holds its weights as `{pickled[0]}`, a pickle, which may run code when it is loaded.",
            "Convert it once where you trust it: `AutoModelForCausalLM.from_pretrained(folder)"
            ".save_pretrained(folder, safe_serialization=True)`.",
        )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise _bad(f"`{folder}` has no `config.json`.", "Copy it from the original model folder.", file.name)
    config = read_object(file)
    if config.get("auto_map"):
        raise _bad(
            "`config.json` has `auto_map`: the model wants to run code from its own folder, which is refused.",
            "If transformers knows the model's type by itself, remove `auto_map` from `config.json`.",
            file.name,
        )
    architectures = config.get("architectures")
    if not isinstance(config.get("model_type"), str):
        raise _bad("`config.json` has no `model_type`.", "Copy it from the original model folder.", file.name)
    if not (isinstance(architectures, list) and architectures and isinstance(architectures[0], str)):
        raise _bad(
            "`config.json` has no `architectures`.", "Copy it from the original model folder.", file.name
        )
    name = architectures[0]
    is_bare = name.endswith("Model") and not name.endswith(("LMHeadModel", "LMModel"))
    if is_bare or name.endswith(_NOT_CAUSAL) or config.get("is_encoder_decoder"):
        raise _bad(
            f"`{name}` does not write text from left to right, so it cannot be trained on conversations.",
            "Give a causal language model (`...ForCausalLM`).",
            file.name,
        )
    if config.get("quantization_config"):
        raise _bad(
            "The model's weights are quantised already (`quantization_config` in `config.json`).",
            "Give the original, unquantised folder.",
            file.name,
        )
    return config


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        others = sorted(file.name for file in folder.glob("*.safetensors"))
        if others:
            raise _bad(
                f"`{folder}` has neither `{_WEIGHTS}` nor `{_INDEX}`, only `{others[0]}`.",
                f"Copy `{_INDEX}` too, or rename a single weight file to `{_WEIGHTS}`.",
                _INDEX,
            )
        raise _bad(
            f"`{folder}` holds no weights (`{_WEIGHTS}`).",
            "Copy them from the original model folder.",
            _WEIGHTS,
        )
    names = sorted(set(_weight_map(folder).values()))
    if any(Path(name).name != name for name in names):
        raise _bad(
            f"`{_INDEX}` names a file outside its folder.", "Copy it from the original model folder.", _INDEX
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        shown = ", ".join(f"`{name}`" for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise _bad(
            f"{len(missing)} of {len(names)} weight files are missing: {shown}.",
            "Copy them from the original model folder.",
            missing[0],
        )
    return [folder / name for name in names]


def _weight_map(folder: Path) -> dict[str, str]:
    found = read_object(folder / _INDEX).get("weight_map")
    is_map = isinstance(found, dict) and found and all(isinstance(name, str) for name in found.values())
    if not is_map:
        raise _bad(f"`{_INDEX}` has no `weight_map`.", "Copy it from the original model folder.", _INDEX)
    return dict(found or {})


def _check_index(folder: Path, tensors: dict[str, _Tensor], files: list[Path]) -> None:
    if not tensors:
        raise _bad(f"`{files[0]}` holds no tensor.", "Copy it from the original model folder.", files[0].name)
    if files[0].name == _WEIGHTS:
        return
    absent = [name for name in _weight_map(folder) if name not in tensors]
    if absent:
        raise _bad(
            f"`{_INDEX}` names {len(absent)} tensors that no weight file holds, the first: `{absent[0]}`.",
            "The weight files and the index belong to different models: copy them all again.",
            _INDEX,
        )


def _check_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise _bad(
            f"`{folder}` has no `tokenizer.json`.",
            "Copy it from the original model folder, or write it with `AutoTokenizer.from_pretrained(folder)"
            ".save_pretrained(folder)` of transformers.",
            file.name,
        )
    if not isinstance(read_object(file).get("model"), dict):
        raise _bad(f"`{file}` is no tokenizer.", "Copy it from the original model folder.", file.name)


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _is_linear(name: str) -> bool:
    """Whether a module with a matrix is a linear layer, by its name: no embedding, no norm, not the output head."""
    return not (
        "embed" in name
        or "norm" in name
        or name in {"wte", "wpe", "lm_head", "embed_out", "shared", "output", "score"}
    )

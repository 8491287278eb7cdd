"""Whether a folder is a model that can be trained, told from its files alone: config, tokenizer, safetensors headers.

Knows file formats and their usual defects. Loads no weights, imports no torch, runs no code from the folder.
"""

import collections
import contextlib
import json
import math
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import InvalidInput, InvalidModel, Problem
from tunesmith.rows.json_file import is_lfs_pointer, lfs_pointer, read_object
from tunesmith.rows.template import TOKENIZER_CONFIG, find_template
from tunesmith.spec.parameter import did_you_mean

MAX_HEADER_BYTES = 100 * 1024**2
ALL_LINEAR = "all-linear"
HUB_ID_FILE = ".hub-id"
"""Holds the id that a model was pulled by."""
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
    "Give the folder it was made from, with `config.json` and `*.safetensors`: GGUF's page on the hub names it as its "
    "base model, and `tunesmith models pull OWNER/MODEL` fetches it. A GGUF file can be made after training.",
)
_HEADS = ("lm_head", "embed_out", "output")
_LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "license.txt", "COPYING")
_LICENSE_CHARACTERS = 20_000
_FRONT_MATTER_CHARACTERS = 65_536
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_CONVERT = (
    "Convert it once where you trust it: `AutoModelForCausalLM.from_pretrained(folder)"
    ".save_pretrained(folder, safe_serialization=True)`, then remove the pickle."
)
_REMOTE_CODE = (
    "If transformers knows the model's type by itself, delete the `*.py` files and remove `auto_map`; else choose a "
    "model that it knows."
)


class LinearLayers(BaseModel):
    """The linear layers of one name and one shape."""

    model_config = ConfigDict(frozen=True)
    name: str
    shape: tuple[int, int] = Field(description="As stored; of most models (out, in).")
    count: int


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
    license: str | None = Field(
        None, description="Its name, from `README.md`'s front matter or the license file's first line."
    )
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
    tokenizer = _tokenizer_kind(folder)
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
    linear = collections.Counter(
        (_last(module), (tensors[f"{module}.weight"].shape[0], tensors[f"{module}.weight"].shape[1]))
        for module in modules
        if _is_linear(_last(module))
    )
    has_head = any(_last(module) in _HEADS for module in modules)
    contexts = (merged.get(name) for name in _CONTEXT_NAMES)
    return ModelFacts(
        path=str(folder),
        architecture=config["architectures"][0],
        model_type=str(config["model_type"]),
        parameters=sum(sizes.values()),
        dtype=_DTYPES.get(main, main.lower()),
        context_length=next((value for value in contexts if isinstance(value, int)), None),
        vocab_size=vocab_size,
        linear_modules=tuple(sorted({name for name, _ in linear})),
        linear_layers=tuple(
            LinearLayers(name=name, shape=shape, count=count)
            for (name, shape), count in sorted(linear.items())
        ),
        is_head_tied=not has_head or merged.get("tie_word_embeddings") is True,
        tokenizer=tokenizer,
        has_chat_template=find_template(folder) is not None,
        license=license_name(folder),
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
        refuse_weight_file(str(folder))
        raise _bad(f"`{folder}` is a file, not a model folder.", "Give the folder that holds `config.json`.")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise _bad(f"`{folder}` cannot be read: {error.strerror}.", "Check its permissions.") from error
    code = [name for name in names if name.endswith(".py")]
    if code:
        raise _bad(
            f"`{folder}` brings code of its own (`{code[0]}`), which is refused: loading the model would run it.",
            _REMOTE_CODE,
            code[0],
        )
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
    pickled = [name for name in names if name.endswith(_PICKLES)]
    if pickled:
        raise _bad(
            f"`{folder}` holds its weights as `{pickled[0]}`, a pickle, which may run code when it is loaded.",
            _CONVERT,
        )


def refuse_weight_file(given: str) -> None:
    """Refuse what by its name is one weight file, where a model's folder or name is asked for.

    Raises:
        InvalidModel: It is a GGUF file or a pickle.
    """
    suffix = Path(given).suffix.lower()
    if suffix == ".gguf":
        raise _bad(f"`{given}` is a GGUF file. {_GGUF[0]}", _GGUF[1])
    if suffix in _PICKLES:
        raise _bad(
            f"`{given}` is a pickle, which may run code when it is loaded; give a model folder.", _CONVERT
        )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise _bad(f"`{folder}` has no `config.json`.", "Copy it from the original model folder.", file.name)
    config = read_object(file)
    if config.get("auto_map"):
        raise _bad(
            "`config.json` has `auto_map`: the model wants to run code from its own folder, which is refused.",
            _REMOTE_CODE,
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


def _tokenizer_kind(folder: Path) -> str:
    """The kind of a tokenizer that is sound and brings no code."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise _bad(
            f"`{folder}` has no `tokenizer.json`.",
            "Copy it from the original model folder, or write it with `AutoTokenizer.from_pretrained(folder)"
            ".save_pretrained(folder)` of transformers.",
            file.name,
        )
    model = read_object(file).get("model")
    if not isinstance(model, dict):
        raise _bad(f"`{file}` is no tokenizer.", "Copy it from the original model folder.", file.name)
    settings = folder / TOKENIZER_CONFIG
    if settings.is_file() and read_object(settings).get("auto_map"):
        raise _bad(
            f"`{settings.name}` has `auto_map`: the tokenizer wants to run code from its own folder, which is refused.",
            _REMOTE_CODE,
            settings.name,
        )
    return str(model.get("type") or "")


def license_text(folder: Path) -> str | None:
    """The text of a model's license file, cut at 20 000 characters; None without one."""
    for name in _LICENSE_FILES:
        file = folder / name
        if file.is_file():
            with contextlib.suppress(OSError), file.open(encoding="utf-8", errors="replace") as stream:
                return stream.read(_LICENSE_CHARACTERS)
    return None


def license_name(folder: Path) -> str | None:
    """The license that a model's files name; None where they name none.

    `README.md`'s front matter counts before the first line of the license file.
    """
    named = _front_matter(folder / "README.md")
    for key in ("license_name", "license"):  # the hub's `license: other` is named by `license_name`
        if isinstance(named.get(key), str) and named[key]:
            return str(named[key])[:120]
    lines = ((license_text(folder) or "").splitlines()) or [""]
    return next((line.strip()[:120] for line in lines if line.strip()), None)


def _front_matter(file: Path) -> dict[str, Any]:
    """What a README says between its first two lines of dashes; empty where it says nothing readable."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_FRONT_MATTER_CHARACTERS)
        head, begin, rest = text.partition("---\n")
        found = yaml.safe_load(rest.partition("\n---")[0]) if begin and not head.strip() else None
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _is_linear(name: str) -> bool:
    """Whether a module with a matrix is a linear layer, by its name: no embedding, no norm, not the output head."""
    return not (
        "embed" in name
        or "norm" in name
        or name in {"wte", "wpe", "lm_head", "embed_out", "shared", "output", "score"}
    )


def hub_id(folder: Path) -> str | None:
    """The hub id that a model was pulled by; None where nobody noted one."""
    try:
        return (folder / HUB_ID_FILE).read_text(encoding="utf-8").strip()[:200] or None
    except (OSError, ValueError):
        return None


def is_from_hub(folder: Path, given: str) -> bool:
    """Whether a folder may be what a hub id names: it was pulled by that id, or nobody noted what it was pulled by."""
    return (hub_id(folder) or given).lower() == given.lower()

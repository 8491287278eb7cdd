"""What the API asks its workers, typed: facts on models and data files, reports, tokens, texts that were sent as YAML.

What was found of a file that has not changed is not asked again. Of files for evaluations, `sample_checks`.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tunesmith.dataset_views import Finding
from tunesmith.model_folder import ModelFacts
from tunesmith.pipelines import NewPipeline
from tunesmith.rows.files.detect_format import FileKind
from tunesmith.rows.report.checking import FileFacts
from tunesmith.spec.pipeline import Step
from tunesmith.spec.training import TrainSpec
from tunesmith.templates import Template
from tunesmith_platform.file_state import FileState, state_of_folder
from tunesmith_platform.sandbox.cache_key import Asked
from tunesmith_platform.sandbox.pool import Limits
from tunesmith_platform.sandbox.shared_workers import ask, optional

_LARGE_ANSWER = 64 * 2**20
"""Of a model with very many layers, or a pipeline with large inputs: kept for long, or written at once."""
_SECONDS = 30.0
_BYTES_A_SECOND = 2e6
"""What the slowest machine reads of rows; packed files count by what they hold packed."""
_MOST_SECONDS = 900.0
_STEPS = TypeAdapter(list[Step])
_FINDINGS = TypeAdapter(list[Finding])


# --- models


def model_facts(folder: Path, *, is_fresh: bool = False, needs_tokenizer: bool = True) -> ModelFacts:
    """What a model folder's files say.

    Args:
        folder: The folder.
        is_fresh: Whether to read it though its files seem unchanged.
        needs_tokenizer: Whether it must hold a tokenizer of its own.

    Raises:
        InvalidModel: It cannot be trained; says why.
    """
    state = state_of_folder(folder)
    look = _model_facts.__wrapped__ if is_fresh else _model_facts
    return look(state, needs_tokenizer)


@functools.lru_cache(maxsize=64)
def _model_facts(model: FileState, needs_tokenizer: bool) -> ModelFacts:
    limits = Limits(answer_bytes=_LARGE_ANSWER)
    return ModelFacts.model_validate_json(
        ask("model_facts", model.path, limits=limits, folder=model.path, needs_tokenizer=needs_tokenizer)
    )


def model_numbers(folder: Path) -> Mapping[str, int]:
    """The numbers of a model's configuration.

    Raises:
        InvalidModel: It cannot be read.
    """
    return _model_numbers(state_of_folder(folder))


@functools.lru_cache(maxsize=64)
def _model_numbers(model: FileState) -> dict[str, int]:
    found: dict[str, int] = json.loads(ask("model_numbers", model.path, folder=model.path))
    return found


def adapter_base(config: Path) -> str | None:
    """The base that an adapter's configuration names; None where it names none."""
    found: str | None = json.loads(ask("adapter_base", str(config.parent), file=str(config)))
    return found


def check_adapter(folder: Path, field: str) -> None:
    """See that a folder holds a LoRA adapter in safetensors, and nothing that is none's.

    Raises:
        InvalidInput: It does not; names the file.
    """
    ask("adapter_folder", str(folder), folder=str(folder), field=field)


def check_gguf(folder: Path, tokenizer: Path, adapter: Path | None) -> int | None:
    """See that GGUF files can hold a model, and an adapter where one is to have a file of its own.

    Args:
        folder: The model's.
        tokenizer: The folder with its tokenizer.
        adapter: The adapter's folder.

    Returns:
        Bytes of a file in F16; None where nobody can say here.

    Raises:
        InvalidInput: They cannot; names the field and why.
    """
    found: int | None = json.loads(
        ask(
            "gguf_files", str(folder), folder=str(folder), tokenizer=str(tokenizer), adapter=optional(adapter)
        )
    )
    return found


def gguf_sizes(folder: Path) -> dict[str, Any] | None:
    """What files of a model would take (`tunesmith.gguf.Forecast`); None where nobody can say here.

    Raises:
        InvalidModel: The folder is none of a model.
    """
    return _gguf_sizes(state_of_folder(folder))


@functools.lru_cache(maxsize=64)
def _gguf_sizes(model: FileState) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(ask("gguf_sizes", model.path, folder=model.path))
    return found


def lora_file(file: Path, field: str) -> dict[str, Any]:
    """The fields of a LoRA that a file sets.

    Raises:
        InvalidInput: It cannot be read, or sets something else.
    """
    found: dict[str, Any] = json.loads(ask("lora_file", str(file), file=str(file), field=field))
    return found


def check_tokenizer(folder: Path) -> None:
    """See that a folder may be read for its tokenizer.

    Raises:
        InvalidModel: It holds no sound one, or what is no model's.
    """
    _check_tokenizer(state_of_folder(folder))


@functools.lru_cache(maxsize=64)
def _check_tokenizer(folder: FileState) -> None:
    ask("tokenizer_folder", folder.path, folder=folder.path)


def check_chat_template(folder: Path, tokenizer: Path | None, chat_template: str | None) -> None:
    """See that a model has a chat template that can be used.

    Raises:
        InvalidModel: It has none, or a broken one.
        InvalidInput: The chosen one is unknown, or does not fit.
    """
    ask(
        "chat_template",
        str(folder),
        folder=str(folder),
        tokenizer=optional(tokenizer),
        chat_template=chat_template,
    )


# --- data files


def recognised(file: Path) -> FileKind:
    """What a file is, from its first rows.

    Raises:
        InvalidData: It is of no use as a whole, or none of its first rows can be read.
    """
    return FileKind.model_validate_json(ask("recognised", str(file), file=str(file)))


def validated(
    file: Path,
    spec: TrainSpec,
    *,
    evaluation: Path | None,
    model: Path | None,
    tokenizer: Path | None,
    allowed_bad_percent: float,
    max_seconds: float,
) -> bytes:
    """A file's report, a `DataReport` as JSON: it may be large, and is only passed on. See `rows.validation`."""
    return ask(
        "validated",
        str(model or file),
        limits=Limits(seconds=max_seconds + 10),
        file=str(file),
        spec=spec.model_dump(mode="json"),
        evaluation=optional(evaluation),
        model=optional(model),
        tokenizer=optional(tokenizer),
        allowed_bad_percent=allowed_bad_percent,
        max_seconds=max_seconds,
    )


def previewed(
    file: Path, spec: TrainSpec, model: Path, *, tokenizer: Path | None, rows: list[int], first: int
) -> bytes:
    """Rows as they are trained, a `DataPreview` as JSON: it may be large, and is only passed on."""
    return ask(
        "previewed",
        str(model),
        file=str(file),
        spec=spec.model_dump(mode="json"),
        model=str(model),
        tokenizer=optional(tokenizer),
        rows=rows,
        first=first,
    )


@functools.lru_cache(maxsize=256)
def rows(
    data: FileState,
    asked: Asked,
    model: FileState,
    tokenizer: FileState | None,
    *,
    allowed_bad_percent: float,
    data_place: str,
    model_place: str,
) -> FileFacts:
    """What a whole data file holds, if some row of it can be trained on.

    Args:
        data: The file.
        asked: How it is read.
        model: The model's folder.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
        allowed_bad_percent: Share of the rows that may be bad.
        data_place: The parameter that problems of rows belong to.
        model_place: The one that problems of the tokenizer or the template belong to.

    Raises:
        InvalidInput: None can.
    """
    seconds = min(_SECONDS + max(0, data.size) / _BYTES_A_SECOND, _MOST_SECONDS)
    spec = asked.spec.model_copy(update={"allowed_bad_percent": allowed_bad_percent})
    raw = ask(
        "rows",
        model.path,
        limits=Limits(seconds=seconds),
        file=data.path,
        spec=spec.model_dump(mode="json"),
        model=model.path,
        tokenizer=tokenizer.path if tokenizer else None,
        data_place=data_place,
        model_place=model_place,
    )
    return FileFacts.model_validate_json(raw)


@functools.lru_cache(maxsize=64)
def findings(
    data: FileState, asked: Asked, model: FileState, tokenizer: FileState | None
) -> tuple[Finding, ...]:
    """What of a file's first rows is not trained, or not as it stands; asked once as long as nothing changes.

    Raises:
        InvalidInput: The file cannot be read, or the model's tokenizer or template.
    """
    raw = ask(
        "findings",
        model.path,
        file=data.path,
        spec=asked.spec.model_dump(mode="json"),
        model=model.path,
        tokenizer=tokenizer.path if tokenizer else None,
    )
    return tuple(_FINDINGS.validate_json(raw))


def token_counts(order: Mapping[str, Any], model: str) -> bytes:
    """How many tokens rows have, of a large file a sample's: `Counts` as JSON.

    Raises:
        InvalidData: A row that was looked at cannot be trained on.
    """
    return ask("count_sample", model, **order)


# --- texts


def template(yaml: str) -> Template:
    """A template that was written as YAML.

    Raises:
        InvalidInput: It is not YAML, or not a template.
    """
    return Template.model_validate_json(ask("template", "yaml", yaml=yaml))


def pipeline(new: NewPipeline) -> tuple[str, list[Step]]:
    """A pipeline's workflow and steps.

    Raises:
        InvalidInput: Something in it cannot be; with every problem and its place.
    """
    raw = ask(
        "pipeline",
        "yaml",
        yaml=new.yaml,
        workflow=new.workflow,
        input=new.input,
        overrides=new.overrides,
        model=new.model,
    )
    found = json.loads(raw)
    return found["workflow"], _STEPS.validate_python(found["steps"])

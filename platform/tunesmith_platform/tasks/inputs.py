"""Looks at what a task is given before anything runs: paths, model, data, hardware. Refuses with place and cure.

Each look is remembered by the file's identity (path, size, time of change), so that submitting many tasks over the
same files costs one look. Knows files; knows nothing of tasks or the database.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from tunesmith.errors import InvalidInput, InvalidModel, PathNotAllowed, Problem
from tunesmith.model_folder import ModelFacts, check_model_folder, check_targets
from tunesmith.rows.checking import check_file
from tunesmith.rows.encoding import Encoder, first_trainable
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.embedded.hardware import hardware
from tunesmith_platform.settings import Settings


class TrainInputs(BaseModel):
    """What a training task reads, resolved: real paths that were looked at."""

    model_path: str
    train_path: str
    eval_path: str | None = None
    output_dir: str | None = None


class _Identity(NamedTuple):
    path: str
    size: int
    changed_ns: int


def check_train_inputs(spec: TrainSpec, settings: Settings) -> TrainInputs:
    """Look at everything a training task is given.

    Raises:
        InvalidInput: With every problem found, each with its place and cure.
    """
    roots = settings.roots()
    with _at("output_dir"):
        output = _allowed(spec.output_dir, roots) if spec.output_dir else None
        if output is not None and output.exists() and not output.is_dir():
            raise InvalidInput(f"`{spec.output_dir}` is a file.", hint="Name a folder.")
    with _at("model_name_or_path"):
        model = _model(spec.model_name_or_path, settings, roots)
        facts = _model_facts(_folder_identity(model))
    if spec.use_lora:
        with _at("target_modules"):
            check_targets(facts, spec.target_modules)
    with _at("max_length"):
        if facts.context_length is not None and spec.max_length > facts.context_length:
            raise InvalidInput(
                f"The model reads at most {facts.context_length} tokens, `max_length` is {spec.max_length}.",
                hint=f"Use `max_length` {facts.context_length} or less.",
            )
    _check_precision(spec)
    paths: dict[str, Path | None] = {}
    for field, given in (("train_file", spec.train_file), ("eval_file", spec.eval_file)):
        if given is None:
            paths[field] = None
            continue
        with _at(field):
            paths[field] = path = _allowed(given, roots)
            identity = _identity(path)
            _check_rows(identity)
            _check_trainable(identity, _folder_identity(model), spec.max_length)
    train = paths["train_file"]
    assert train is not None
    evaluation = paths["eval_file"]
    return TrainInputs(
        model_path=str(model),
        train_path=str(train),
        eval_path=str(evaluation) if evaluation else None,
        output_dir=str(output) if output else None,
    )


@contextlib.contextmanager
def _at(field: str) -> Iterator[None]:
    """Say which parameter a problem belongs to."""
    try:
        yield
    except InvalidInput as error:
        place = f"spec.{field}"
        if error.problems:
            error.problems = [
                problem.model_copy(update={"field": f"{place}: {problem.field}" if problem.field else place})
                for problem in error.problems
            ]
        else:
            error.problems = [Problem(field=place, message=error.message, hint=error.hint)]
        raise


def _allowed(given: str, roots: list[Path]) -> Path:
    if "\x00" in given:
        raise InvalidInput("A path holds no NUL character.")
    path = Path(os.path.realpath(given))  # links are followed first: they may not lead out
    if not Path(given).is_absolute() or not any(path.is_relative_to(root) for root in roots):
        raise PathNotAllowed(
            f"`{given}` lies outside the folders that this platform may use.",
            hint="Give an absolute path inside "
            + (" or ".join(f"`{root}`" for root in roots) or "an allowed root")
            + ", or allow its folder with `tunesmith up --allow DIR`.",
        )
    return path


def _model(given: str, settings: Settings, roots: list[Path]) -> Path:
    if Path(given).is_absolute():
        return _allowed(given, roots)
    name = given.rsplit("/", 1)[-1]
    folder = settings.models_dir / name
    if ".." in Path(given).parts or not name or not folder.is_dir():
        raise InvalidModel(
            f"There is no model `{given}` here.",
            hint=f"Pull it with `tunesmith models pull {given}`, or give an absolute path to its folder.",
        )
    return Path(os.path.realpath(folder))


def _identity(path: Path) -> _Identity:
    try:
        stat = path.stat()
    except OSError:
        return _Identity(str(path), -1, 0)  # the check itself says what is wrong
    return _Identity(str(path), stat.st_size, stat.st_mtime_ns)


def _folder_identity(folder: Path) -> _Identity:
    """A folder changes when any file directly in it does."""
    try:
        stats = [entry.stat() for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return _identity(folder)
    return _Identity(
        str(folder), sum(s.st_size for s in stats), sum(s.st_mtime_ns for s in stats) + len(stats)
    )


@functools.lru_cache(maxsize=64)
def _model_facts(model: _Identity) -> ModelFacts:
    return check_model_folder(Path(model.path))


@functools.lru_cache(maxsize=8)
def _encoder(model: _Identity, max_length: int) -> Encoder:
    return Encoder.from_folder(Path(model.path), max_length)


@functools.lru_cache(maxsize=256)
def _check_rows(data: _Identity) -> None:
    check_file(Path(data.path))


@functools.lru_cache(maxsize=256)
def _check_trainable(data: _Identity, model: _Identity, max_length: int) -> None:
    first_trainable(Path(data.path), _encoder(model, max_length))


def _check_precision(spec: TrainSpec) -> None:
    """Refuse a precision that the hardware does not compute.

    Asked of the machine the control plane runs on: on one machine it is the one that trains. The job looks again.
    """
    here = hardware()
    place = "bf16" if spec.bf16 else "fp16" if spec.fp16 else "precision"
    with _at(place):
        if spec.chosen_precision == "bf16" and not here.supports_bf16:
            raise InvalidInput(
                "This hardware does not compute in bf16 (that takes AMX or AVX512-BF16, or an Ampere GPU).",
                hint="Use `precision=auto`, which takes the best that is there.",
            )
        if spec.chosen_precision == "fp16" and (spec.device == "cpu" or not here.gpus):
            raise InvalidInput(
                "fp16 training needs a GPU.", hint="Use `precision=auto`, which takes the best that is there."
            )
    with _at("device"):
        if spec.device == "gpu" and not here.gpus:
            raise InvalidInput("There is no GPU here.", hint="Use `device=auto` or `device=cpu`.")

"""What the API asks its workers, typed: facts on models and data files, reports, tokens, texts that were sent as YAML.

The workers are the process's own, whoever asks: at most one a processor. What was found of a file that has not changed
is not asked again.
"""

import functools
import json
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tunesmith.dataset_views import Finding
from tunesmith.evaluation.benchmark_file import OwnBenchmark
from tunesmith.evaluation.results import Split
from tunesmith.evaluation.sample_edit import Edited
from tunesmith.evaluation.sample_views import SampleCheck
from tunesmith.evaluation.samples import SampleSet, SampleSizes
from tunesmith.model_folder import ModelFacts
from tunesmith.pipelines import NewPipeline
from tunesmith.rows.files.detect_format import FileKind
from tunesmith.rows.report.checking import FileFacts
from tunesmith.spec.pipeline import Step
from tunesmith.spec.training import TrainSpec
from tunesmith.templates import Template
from tunesmith_platform.file_state import FileState, state_of_file, state_of_folder
from tunesmith_platform.sandbox.cache_key import Asked
from tunesmith_platform.sandbox.pool import Limits, Sandbox

_LARGE_ANSWER = 64 * 2**20
"""Of a model with very many layers, or a pipeline with large inputs: kept for long, or written at once."""
_SAMPLES_ANSWER = 160 * 2**20
"""Every text of the largest sample file, each letter escaped."""
_SECONDS = 30.0
_BYTES_A_SECOND = 2e6
"""What the slowest machine reads of rows; packed files count by what they hold packed."""
_MOST_SECONDS = 900.0
_STEPS = TypeAdapter(list[Step])
_FINDINGS = TypeAdapter(list[Finding])


class _Shared:
    """The process's workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None
        self._options: dict[str, int] = {}

    def configure(self, **options: int) -> None:
        """How they are to be, before the first one starts; then it is too late."""
        with self._lock:
            self._options = self._options | options

    def get(self) -> Sandbox:
        """The workers; none runs before it has work."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox(**self._options)
            return self._sandbox

    def another(self, **options: int) -> Sandbox:
        """Workers besides, for what nobody waits for."""
        return Sandbox(**{**self._options, **options})


shared = _Shared()
"""Those that users wait for."""


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
    found = json.loads(
        _ask("model_facts", model.path, limits=limits, folder=model.path, needs_tokenizer=needs_tokenizer)
    )
    facts = ModelFacts.model_validate(found["facts"])
    return facts.model_copy(update={"module_paths": tuple(found["module_paths"])})


def model_numbers(folder: Path) -> Mapping[str, int]:
    """The numbers of a model's configuration.

    Raises:
        InvalidModel: It cannot be read.
    """
    return _model_numbers(state_of_folder(folder))


@functools.lru_cache(maxsize=64)
def _model_numbers(model: FileState) -> dict[str, int]:
    found: dict[str, int] = json.loads(_ask("model_numbers", model.path, folder=model.path))
    return found


def adapter_base(config: Path) -> str | None:
    """The base that an adapter's configuration names; None where it names none."""
    found: str | None = json.loads(_ask("adapter_base", str(config.parent), file=str(config)))
    return found


def check_adapter(folder: Path, field: str) -> None:
    """See that a folder holds a LoRA adapter in safetensors, and nothing that is none's.

    Raises:
        InvalidInput: It does not; names the file.
    """
    _ask("adapter_folder", str(folder), folder=str(folder), field=field)


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
        _ask("gguf_files", str(folder), folder=str(folder), tokenizer=str(tokenizer), adapter=_path(adapter))
    )
    return found


def lora_file(file: Path, field: str) -> dict[str, Any]:
    """The fields of a LoRA that a file sets.

    Raises:
        InvalidInput: It cannot be read, or sets something else.
    """
    found: dict[str, Any] = json.loads(_ask("lora_file", str(file), file=str(file), field=field))
    return found


def check_tokenizer(folder: Path) -> None:
    """See that a folder may be read for its tokenizer.

    Raises:
        InvalidModel: It holds no sound one, or what is no model's.
    """
    _check_tokenizer(state_of_folder(folder))


@functools.lru_cache(maxsize=64)
def _check_tokenizer(folder: FileState) -> None:
    _ask("tokenizer_folder", folder.path, folder=folder.path)


def check_chat_template(folder: Path, tokenizer: Path | None, chat_template: str | None) -> None:
    """See that a model has a chat template that can be used.

    Raises:
        InvalidModel: It has none, or a broken one.
        InvalidInput: The chosen one is unknown, or does not fit.
    """
    _ask(
        "chat_template",
        str(folder),
        folder=str(folder),
        tokenizer=_path(tokenizer),
        chat_template=chat_template,
    )


# --- data files


def recognised(file: Path) -> FileKind:
    """What a file is, from its first rows.

    Raises:
        InvalidData: It is of no use as a whole, or none of its first rows can be read.
    """
    return FileKind.model_validate_json(_ask("recognised", str(file), file=str(file)))


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
    return _ask(
        "validated",
        str(model or file),
        limits=Limits(seconds=max_seconds + 10),
        file=str(file),
        spec=spec.model_dump(mode="json"),
        evaluation=_path(evaluation),
        model=_path(model),
        tokenizer=_path(tokenizer),
        allowed_bad_percent=allowed_bad_percent,
        max_seconds=max_seconds,
    )


def previewed(
    file: Path, spec: TrainSpec, model: Path, *, tokenizer: Path | None, rows: list[int], first: int
) -> bytes:
    """Rows as they are trained, a `DataPreview` as JSON: it may be large, and is only passed on."""
    return _ask(
        "previewed",
        str(model),
        file=str(file),
        spec=spec.model_dump(mode="json"),
        model=str(model),
        tokenizer=_path(tokenizer),
        rows=rows,
        first=first,
    )


def check_asked(file: Path, prompt_column: str | None) -> None:
    """See that a file's first row asks a model something.

    Raises:
        InvalidData: It does not.
    """
    _ask("first_asked", str(file), file=str(file), prompt_column=prompt_column)


def samples(
    file: Path,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
    system_column: str | None = None,
    default_split: Split = "validation",
    scorers: Collection[str] | None = None,
) -> SampleSet:
    """The samples of a file, and what is wrong with which. See `evaluation.samples.inspect_samples`.

    Raises:
        InvalidData: It is of no use as a whole.
    """
    raw = _ask(
        "samples",
        str(file),
        limits=Limits(answer_bytes=_SAMPLES_ANSWER),
        file=str(file),
        prompt_column=prompt_column,
        response_column=response_column,
        system_column=system_column,
        default_split=default_split,
        scorers=None if scorers is None else sorted(scorers),
    )
    return SampleSet.model_validate_json(raw)


def sample_check(
    file: Path,
    *,
    prompt_column: str | None,
    response_column: str | None,
    system_column: str | None,
    default_split: Split,
    split: Split | None,
    first: int,
) -> SampleCheck:
    """What a sample file holds, with its first samples; the others stay in the worker.

    Raises:
        InvalidData: It is of no use as a whole.
    """
    raw = _ask(
        "sample_check",
        str(file),
        limits=Limits(answer_bytes=_SAMPLES_ANSWER),
        file=str(file),
        prompt_column=prompt_column,
        response_column=response_column,
        system_column=system_column,
        default_split=default_split,
        split=split,
        first=first,
    )
    return SampleCheck.model_validate_json(raw)


def edited_samples(file: Path | None, add: Sequence[Mapping[str, Any]], remove: Collection[str]) -> Edited:
    """The next version of a sample file. See `evaluation.sample_edit.edited`.

    Raises:
        InvalidData: The file, or what is to be added, is of no use; or nothing would be left.
    """
    raw = _ask(
        "edited_samples",
        str(file or "new samples"),
        limits=Limits(answer_bytes=_SAMPLES_ANSWER),
        file=_path(file),
        add=[dict(one) for one in add],
        remove=sorted(remove),
    )
    return Edited(**json.loads(raw))


def scorer_names(file: Path) -> list[str]:
    """The names of a file's scorers.

    Raises:
        InvalidInput: It is no file of scorers, or a pattern or a schema in it is none.
    """
    return list(json.loads(_ask("scorer_names", str(file), file=str(file))))


def own_benchmark(file: Path) -> OwnBenchmark:
    """The benchmark of a user's file, its files of rows by their whole paths; these are not looked at.

    Raises:
        InvalidInput: It is no benchmark, or names a program.
    """
    return OwnBenchmark.model_validate_json(_ask("own_benchmark", str(file), file=str(file)))


def count_samples(file: Path, split: str, columns: Mapping[str, str | None]) -> SampleSizes:
    """How many samples a part of a file has, and how long they are; each can be asked and scored.

    Args:
        file: The sample file.
        split: The part.
        columns: `prompt_column`, `response_column` and `system_column`, where they are named.

    Raises:
        InvalidData: It cannot be read, or one of them cannot be used.
    """
    return _counted_samples(state_of_file(file), tuple(sorted(columns.items())))[split]


@functools.lru_cache(maxsize=64)
def _counted_samples(file: FileState, columns: tuple[tuple[str, str | None], ...]) -> dict[str, SampleSizes]:
    """The sizes of each part; a forecast, a submit and their checks read a file once as long as it stays."""
    raw = _ask("count_samples", file.path, file=file.path, columns=dict(columns))
    return {split: SampleSizes(*sizes) for split, sizes in json.loads(raw).items()}


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
    raw = _ask(
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
    raw = _ask(
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
    return _ask("count_sample", model, **order)


# --- texts


def template(yaml: str) -> Template:
    """A template that was written as YAML.

    Raises:
        InvalidInput: It is not YAML, or not a template.
    """
    return Template.model_validate_json(_ask("template", "yaml", yaml=yaml))


def pipeline(new: NewPipeline) -> tuple[str, list[Step]]:
    """A pipeline's workflow and steps.

    Raises:
        InvalidInput: Something in it cannot be; with every problem and its place.
    """
    raw = _ask(
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


def _ask(name: str, about: str, *, limits: Limits | None = None, **argument: Any) -> bytes:
    return shared.get().run(name, argument, about=about, limits=limits or Limits())


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)

"""What the workers do: every reading of strangers' files and texts, by its name. Changes nothing but `count_into`.

Each function takes plain data and answers JSON; `checks` is their typed side in the API. Imported by workers alone: the
API would hold the libraries, and whatever they hold.
"""

import functools
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import InvalidInput, NotConvertible, NotInstalled
from tunesmith.evaluation import benchmark_names
from tunesmith.evaluation.benchmark_file import read_benchmark
from tunesmith.evaluation.sample_edit import edited
from tunesmith.evaluation.sample_views import SampleCheck
from tunesmith.evaluation.samples import inspect_samples, read_samples, sample_sizes
from tunesmith.evaluation.scores.custom import read_scorers
from tunesmith.gguf import forecast, plan_gguf, plan_lora_gguf
from tunesmith.model_folder import (
    check_adapter_folder,
    check_model_folder,
    check_tokenizer_folder,
    read_lora_file,
)
from tunesmith.rows.chat.prompts import asked_rows
from tunesmith.rows.chat.template import template_of
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import look_at
from tunesmith.rows.report.checking import FileFacts, check_file
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import Shape, shape_of
from tunesmith.rows.tokens.encode_rows import first_trainable
from tunesmith.rows.tokens.encoding import RowEncoder
from tunesmith.rows.tokens.library_ids import findings_of
from tunesmith.spec.pipeline import plan
from tunesmith.spec.pipeline_file import chosen_workflow, read_pipeline
from tunesmith.spec.training import TrainSpec
from tunesmith.templates import from_yaml
from tunesmith_platform.file_state import FileState, state_of_file, state_of_folder
from tunesmith_platform.sandbox import count_tokens, result_work
from tunesmith_platform.sandbox.cache_key import Asked
from tunesmith_platform.sandbox.error_fields import at

Argument = Mapping[str, Any]
_CONFIG_BYTES = 2**20
_ENDS = ("eos_token", "eos_token_id", "bos_token")
_WAITED_FOR = ("jinja2", "jinja2.sandbox", "tokenizers", "numpy")
"""Imported before the first work: nobody waits for it then. What is rarer (pyarrow) comes with its first file."""


def prepare() -> None:
    """Import what most work needs."""
    for name in _WAITED_FOR:
        importlib.import_module(name)


# --- models


def model_facts(given: Argument) -> bytes:
    """What a model folder's files say."""
    facts = check_model_folder(given["folder"], needs_tokenizer=given["needs_tokenizer"])
    return _json(facts.model_dump(mode="json") | facts.aside())


def model_numbers(given: Argument) -> bytes:
    """The numbers of a model's configuration; those of its language part where the whole has none."""
    raw = read_object(Path(given["folder"]) / "config.json")
    text = raw.get("text_config")
    merged = {**(text if isinstance(text, dict) else {}), **raw}
    return _json({name: value for name, value in merged.items() if isinstance(value, int)})


def adapter_base(given: Argument) -> bytes:
    """The base that an adapter's configuration names; null where it names none."""
    file = Path(given["file"])
    try:
        found = json.loads(file.read_bytes()) if file.stat().st_size <= _CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError):
        found = None
    named = found.get("base_model_name_or_path") if isinstance(found, dict) else None
    return _json(named if isinstance(named, str) and named else None)


def adapter_folder(given: Argument) -> bytes:
    """Whether a folder holds a LoRA adapter in safetensors, and nothing that is none's."""
    check_adapter_folder(Path(given["folder"]), given["field"])
    return _json(None)


def gguf_files(given: Argument) -> bytes:
    """Bytes of an F16 file of a model, as far as GGUF files can hold what is wanted; null where nobody can say here.

    What ends a text is looked at by the job alone: it writes the training's own marks beside the weights first.
    """
    try:
        if given["adapter"]:
            plan_lora_gguf(given["adapter"], given["folder"])
        found = plan_gguf(given["folder"], tokenizer=given["tokenizer"]).bytes
    except NotInstalled:
        return _json(None)
    except NotConvertible as error:
        if error.problems[0].field in _ENDS:
            return _json(None)
        raise
    return _json(found)


def gguf_sizes(given: Argument) -> bytes:
    """What files of a model would take, by their types; null where nobody can say here."""
    try:
        return _json(forecast(given["folder"])._asdict())
    except (NotInstalled, NotConvertible):
        return _json(None)


def lora_file(given: Argument) -> bytes:
    """The fields of a LoRA that a file sets."""
    found = read_lora_file(Path(given["file"]), given["field"])
    return json.dumps(found, default=str).encode()  # YAML has dates, which are no value of any field


def tokenizer_folder(given: Argument) -> bytes:
    """Whether a folder may be read for its tokenizer."""
    check_tokenizer_folder(Path(given["folder"]))
    return _json(None)


def chat_template(given: Argument) -> bytes:
    """Whether a model has a chat template that can be used."""
    template_of(given["folder"], tokenizer=given["tokenizer"], chat_template=given["chat_template"])
    return _json(None)


# --- data files


def recognised(given: Argument) -> bytes:
    """What a file is, from its first rows."""
    return recognise(Path(given["file"])).model_dump_json().encode()


def validated(given: Argument) -> bytes:
    """A file's report."""
    report = validate(
        given["file"],
        TrainSpec.stored(given["spec"]),
        evaluation=given["evaluation"],
        model=given["model"],
        tokenizer=given["tokenizer"],
        allowed_bad_percent=given["allowed_bad_percent"],
        max_seconds=given["max_seconds"],
    )
    return report.model_dump_json().encode()


def previewed(given: Argument) -> bytes:
    """Rows as they are trained."""
    shown = preview(
        given["file"],
        TrainSpec.stored(given["spec"]),
        given["model"],
        tokenizer=given["tokenizer"],
        rows=given["rows"],
        first=given["first"],
    )
    return shown.model_dump_json().encode()


def scorer_names(given: Argument) -> bytes:
    """See `sample_checks.scorer_names`."""
    return _json([one.name for one in read_scorers(Path(given["file"]).read_text(encoding="utf-8"))])


def own_benchmark(given: Argument) -> bytes:
    """See `sample_checks.own_benchmark`."""
    file = Path(given["file"])
    return read_benchmark(file.read_text(encoding="utf-8")).at(file.parent).model_dump_json().encode()


def unknown_benchmarks(given: Argument) -> bytes:
    """See `sample_checks.unknown_benchmarks`; null where lm-eval is not here."""
    try:
        return _json(benchmark_names.unknown_benchmarks(given["names"], _known_benchmarks()))
    except ImportError:
        return _json(None)


@functools.lru_cache(maxsize=1)
def _known_benchmarks() -> Sequence[str]:
    # A library that it imports looks by writing where temporary files may lie, and a worker writes none.
    tempfile.tempdir = tempfile.tempdir or os.environ.get("TMPDIR", "/")
    return benchmark_names.known_benchmarks()


def count_samples(given: Argument) -> bytes:
    """See `sample_checks.count_samples`."""
    found = read_samples(Path(given["file"]), **given["columns"])
    return _json({split: sample_sizes(found.of(split)) for split in ("train", "validation")})


def first_asked(given: Argument) -> bytes:
    """Whether a file's first row asks a model something."""
    next(iter(asked_rows(Path(given["file"]), given["prompt_column"])))
    return _json(None)


def sample_check(given: Argument) -> bytes:
    """What a sample file holds, with its first samples alone."""
    found = inspect_samples(Path(given["file"]), default_split=given["default_split"], **given["columns"])
    return SampleCheck.of(found, given["first"], given["split"]).model_dump_json().encode()


def edited_samples(given: Argument) -> bytes:
    """The next version of a sample file."""
    found = edited(Path(given["file"]) if given["file"] else None, given["add"], given["remove"])
    return _json(found._asdict())


class _Sources(NamedTuple):
    """What a row is encoded with."""

    model: FileState
    tokenizer: FileState | None


def rows(given: Argument) -> bytes:
    """What a whole data file holds, if some row of it can be trained on."""
    spec = TrainSpec.stored(given["spec"])
    data, asked = state_of_file(Path(given["file"])), Asked(spec)
    tokenizer = state_of_folder(Path(given["tokenizer"])) if given["tokenizer"] else None
    sources = _Sources(state_of_folder(Path(given["model"])), tokenizer)
    with at(given["data_place"]):
        shape = _shape(data, asked)
        facts = _facts(data, shape, spec.allowed_bad_percent)
    with at(given["model_place"]):
        encoder = _encoder(asked, shape, sources)
    with at(given["data_place"]):
        first_trainable(data.path, encoder, shape=shape, allowed_bad_percent=spec.allowed_bad_percent)
    return facts.model_dump_json().encode()


def findings(given: Argument) -> bytes:
    """What of a file's first rows is not trained, or not as it stands."""
    asked, file = Asked(TrainSpec.stored(given["spec"])), RowFile(given["file"])
    tokenizer = state_of_folder(Path(given["tokenizer"])) if given["tokenizer"] else None
    sources = _Sources(state_of_folder(Path(given["model"])), tokenizer)
    shape = _shape(state_of_file(file.path), asked)
    cut_at = None if asked.spec.training_type == "pretrain" else asked.spec.max_length
    census = look_at(file.scan(), _encoder(asked, shape, sources), shape)
    found = census.findings(shape, file.place, cut_at, asked.spec.training_type)
    by_file = findings_of(given["model"], given["tokenizer"])
    return _json([one.model_dump() for one in (*by_file, *found)])


# A task more of a file, or one more file of a model: what was read a moment ago is not read again.


@functools.lru_cache(maxsize=1)
def _encoder(asked: Asked, shape: Shape, sources: _Sources) -> RowEncoder:
    tokenizer = sources.tokenizer.path if sources.tokenizer else None
    return encoder_of(asked.spec, shape, sources.model.path, tokenizer)


@functools.lru_cache(maxsize=64)
def _shape(data: FileState, asked: Asked) -> Shape:
    return shape_of(RowFile(data.path), asked.spec)


@functools.lru_cache(maxsize=64)
def _facts(data: FileState, shape: Shape, allowed_bad_percent: float) -> FileFacts:
    return check_file(data.path, shape=shape, allowed_bad_percent=allowed_bad_percent)


def count_sample(given: Argument) -> bytes:
    """How many tokens rows have; of a large file, a sample of its rows."""
    return count_tokens.count_sample(count_tokens.CountSource.of(given)).as_json()


def count_into(given: Argument) -> bytes:
    """Count all rows, and keep what was counted."""
    count_tokens.count_all(count_tokens.CountSource.of(given)).save(Path(given["target"]))
    return _json(None)


# --- texts


def template(given: Argument) -> bytes:
    """A template that was written as YAML."""
    return from_yaml(given["yaml"]).model_dump_json().encode()


def pipeline(given: Argument) -> bytes:
    """A pipeline's workflow and steps."""
    try:
        read = read_pipeline(given["yaml"])
        workflow = chosen_workflow(read, given["workflow"]).id
        steps = plan(
            read,
            workflow=given["workflow"],
            inputs=given["input"],
            overrides=given["overrides"],
            model=given["model"],
        )
    except RecursionError:
        raise InvalidInput("The pipeline is nested too deeply.", hint="Write it flatter.") from None
    return _json({"workflow": workflow, "steps": [step.model_dump(mode="json") for step in steps]})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


TABLE: dict[str, Callable[[Argument], bytes]] = result_work.TABLE | {
    function.__name__: function
    for function in (
        model_facts,
        model_numbers,
        adapter_base,
        adapter_folder,
        gguf_files,
        gguf_sizes,
        lora_file,
        tokenizer_folder,
        chat_template,
        recognised,
        validated,
        previewed,
        first_asked,
        sample_check,
        edited_samples,
        count_samples,
        scorer_names,
        own_benchmark,
        unknown_benchmarks,
        rows,
        findings,
        count_sample,
        count_into,
        template,
        pipeline,
    )
}

"""Looks at what a task is given before anything runs: paths, model, data, hardware. Refuses with place and cure.

Each look is remembered by the file's identity (path, size, time of change), so that submitting many tasks over the
same files costs one look. Knows files; knows nothing of tasks or the database.
"""

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from tunesmith.dataset_views import Part
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.lora_file import refuse_lora
from tunesmith.model_folder import (
    ModelFacts,
    check_targets,
    inabilities,
    unquantised_experts,
    untuned_experts,
)
from tunesmith.model_folder.layers import embedding_rows
from tunesmith.planning import check_schedule, plan_steps
from tunesmith.rows.labels import check_classes, check_known
from tunesmith.rows.report.checking import FileFacts
from tunesmith.spec.base import Notice
from tunesmith.spec.evaluation import DEFAULT_SAMPLES
from tunesmith.spec.parameter import about
from tunesmith.spec.roles import Role
from tunesmith.spec.training import TrainSpec, chosen_targets
from tunesmith.storage import local_path
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.file_state import FileState, state_of_file, state_of_folder
from tunesmith_platform.paths import allowed_path, allowed_uri
from tunesmith_platform.sandbox import checks, sample_checks
from tunesmith_platform.sandbox.cache_key import Asked
from tunesmith_platform.sandbox.error_fields import at, at_spec
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.find_inputs import Datasets, Models, StoredFile, find_file, find_model
from tunesmith_platform.tasks.outputs import check_output, output_folder
from tunesmith_platform.tasks.preflight import check_fitness
from tunesmith_platform.tasks.starts import (
    check_adapter,
    check_checkpoint,
    check_same_parameters,
    started_from,
)


class TrainInputs(BaseModel):
    """What a training task reads, resolved: real paths that were looked at."""

    train_dataset: str | None = Field(
        None, description="`name@number` of the data set that the training file was named by."
    )
    train_sha256: str | None = Field(None, description="Of its bytes; None where a path was named.")
    eval_dataset: str | None = None
    eval_sha256: str | None = None
    samples_dataset: str | None = Field(
        None, description="The same of the samples that its checkpoints answer."
    )

    model_path: str
    model_sha256: str | None = Field(
        None, description="Fingerprint of the model's files; None where it was not computed yet."
    )
    tokenizer_path: str | None = Field(
        None, description="Another folder whose tokenizer is used instead of the model's."
    )
    train_path: str
    eval_path: str | None = None
    output_dir: str | None = None
    classes: int = Field(0, description="Classes of the training file, where they are counted.")
    rows: int | None = Field(None, description="Rows of the training file; None where they were not counted.")
    train_parts: list[Part] = Field(
        default_factory=list,
        description="Rows that each data set gave, where the training file was mixed of several.",
    )

    untuned: str | None = Field(
        None, description="What of the layers that a LoRA means gets none, in words; null where all do."
    )
    unquantised: str | None = Field(
        None,
        description="What of the weights is not held in fewer bits as asked, in words; null where all are.",
    )

    def told(self) -> list[Notice]:
        """What each data set gave to rows mixed of several; which layers get no LoRA, or not the fewer bits asked."""
        found = []
        if self.train_parts:
            words = ", ".join(map(str, self.train_parts))
            found.append(Notice(field="train_file", message=f"`{self.train_dataset}` holds {words}."))
        if self.untuned:
            found.append(Notice(field="target_modules", message=self.untuned))
        if self.unquantised:
            found.append(Notice(field="model_name_or_path", message=self.unquantised))
        return found

    def pinned(self) -> dict[str, str]:
        """What named a data set, with the version's number: another one may be the newest later."""
        named = {
            "train_file": self.train_dataset,
            "eval_file": self.eval_dataset,
            "evaluation_sample_file": self.samples_dataset,
        }
        return {field: version for field, version in named.items() if version}


class DataInputs(BaseModel):
    """What a task on data reads and where its rows go, resolved."""

    parameters: dict[str, Any] = Field(description="The operation's, every path absolute.")
    into: str | None = Field(None, description="The data set whose next version is made; None makes none.")
    rows_dir: str = Field(description="Folder for the rows.")
    sources: list[str] = Field(default_factory=list, description="See `Lineage.sources`.")
    reads: list[str] = Field(default_factory=list, description="Files that are there to be read.")


def check_train_inputs(
    spec: TrainSpec,
    settings: Settings,
    models: Models | None = None,
    datasets: Datasets | None = None,
    *,
    compute: Compute | None = None,
    with_rows: bool = True,
) -> TrainInputs:
    """Look at everything a training task is given.

    Args:
        spec: Its parameters.
        settings: Which folders may be used.
        models: The registry; without one, a model is found by its path or its folder's name alone.
        datasets: The registry; without one, a file is found by its path alone.
        compute: What trains, as far as it is known; without it, nothing is refused for what may not be there.
        with_rows: Whether every row of the files is looked at, which takes seconds for large ones.

    Raises:
        InvalidInput: With every problem found, each with its place and cure.
    """
    with _at("output_dir"):
        output = output_folder(spec.output_dir, settings)
    with _at("model_name_or_path"):
        model = find_model(spec.model_name_or_path, settings, models)
        model_state = state_of_folder(model)
        facts = facts_of(model, spec.tokenizer_name_or_path)
    check_further_paths(spec, settings)
    check_starts(spec, facts)
    if spec.use_lora and not spec.attach_lora and spec.peft_config_path is None:
        with _at("target_modules"):
            check_targets(facts, chosen_targets(spec.target_modules, facts.linear_modules))
    with _at("max_length"):
        if facts.context_length is not None and spec.max_length > facts.context_length:
            raise InvalidInput(
                f"The model reads at most {facts.context_length} tokens, `max_length` is {spec.max_length}.",
                hint=f"Use `max_length` {facts.context_length} or less.",
            )
    _check_abilities(facts, spec)
    check_fitness(spec, compute or Compute())
    with _at("tokenizer_name_or_path"):
        named = spec.tokenizer_name_or_path
        tokenizer = find_model(named, settings, models) if named else None
        tokenizer_state = state_of_folder(tokenizer) if tokenizer else None
        if tokenizer is not None:
            checks.check_tokenizer(tokenizer)
    paths: dict[str, Path | None] = {}
    stored: dict[str, StoredFile] = {}
    found: dict[str, FileFacts] = {}
    for field, given in (("train_file", spec.train_file), ("eval_file", spec.eval_file)):
        if given is None:
            paths[field] = None
            continue
        with _at(field):
            path, version = find_file(given, settings, datasets)
            paths[field] = path
            if version is not None:
                stored[field] = version
        if with_rows:
            found[field] = look_at_rows(field, path, spec, model_state, tokenizer_state)
    train = paths["train_file"]
    assert train is not None
    evaluation = paths["eval_file"]
    if output is not None:
        reads = {
            "its model": model,
            "its tokenizer": tokenizer,
            "its data": train,
            "its rows to evaluate": evaluation,
        }
        with _at("output_dir"):
            check_output(output, reads | started_from(spec), settings)
    counted = found["train_file"].rows if with_rows else None
    with at_spec():
        _check_length(spec, counted)
    samples = (
        _check_scoring(spec, settings, datasets, model, tokenizer) if spec.evaluate_checkpoints else None
    )
    if spec.training_type == "classification" and with_rows:
        _check_labels(found, evaluation)
    training, held_out = stored.get("train_file"), stored.get("eval_file")
    return TrainInputs(
        train_dataset=training.version if training else None,
        train_sha256=training.sha256 if training else None,
        eval_dataset=held_out.version if held_out else None,
        eval_sha256=held_out.sha256 if held_out else None,
        samples_dataset=samples.version if samples else None,
        model_path=str(model),
        model_sha256=models.sha256(model) if models else None,
        tokenizer_path=str(tokenizer) if tokenizer else None,
        train_path=str(train),
        eval_path=str(evaluation) if evaluation else None,
        output_dir=str(output) if output else None,
        classes=len(found["train_file"].classes) if with_rows else 0,
        rows=counted,
        train_parts=list(training.parts) if training else [],
        untuned=untuned_experts(facts, spec),
        unquantised=unquantised_experts(facts, spec),
    )


def _check_scoring(
    spec: TrainSpec, settings: Settings, datasets: Datasets | None, model: Path, tokenizer: Path | None
) -> StoredFile | None:
    """See that checkpoints can be asked, and what they are asked; the version of a data set that is named.

    Raises:
        InvalidInput: There is no chat template, or there are no samples.
    """
    with _at("evaluate_checkpoints"):
        checks.check_chat_template(model, tokenizer, spec.chat_template)
    given = spec.evaluation_sample_file
    if given is None or given == DEFAULT_SAMPLES:
        return None
    with _at("evaluation_sample_file"):
        path, stored = find_file(given, settings, datasets)
        if not path.is_file():
            raise InvalidData(f"There is no file `{given}`.", hint="Check the path.")
        if not sample_checks.count_samples(path, "validation", {}).number:
            raise InvalidInput(
                f"`{path.name}` has no samples of the part `validation`.",
                hint="Give a sample file, or rows with questions and answers.",
            )
    return stored


def _check_abilities(facts: ModelFacts, spec: TrainSpec) -> None:
    if problems := inabilities(facts, spec):
        placed = [problem.under("spec") for problem in problems]
        raise InvalidInput(problems[0].message, hint=problems[0].hint, problems=placed)


def _check_length(spec: TrainSpec, rows: int | None) -> None:
    """See that the run is long enough for its schedule: packing and rows that are held out only make it shorter."""
    if spec.max_steps > 0 or rows:
        check_schedule(spec, plan_steps(spec, rows or 1).total_steps)


def _check_labels(found: Mapping[str, FileFacts], evaluation: Path | None) -> None:
    with _at("train_file"):
        check_classes(found["train_file"].classes)
    if evaluation is not None:
        with _at("eval_file"):
            check_known(found["eval_file"].classes, found["train_file"].classes, evaluation.name)


def look_at_rows(
    field: str, path: Path, spec: TrainSpec, model: FileState, tokenizer: FileState | None
) -> FileFacts:
    """Read a whole data file, and see that some row of it can be trained on."""
    place = (
        "chat_template"
        if spec.chat_template
        else "tokenizer_name_or_path"
        if tokenizer
        else "model_name_or_path"
    )
    return checks.rows(
        state_of_file(path),
        Asked(spec),
        model,
        tokenizer,
        allowed_bad_percent=spec.allowed_bad_percent,
        data_place=f"spec.{field}",
        model_place=f"spec.{place}",
    )


def facts_of(model: Path, tokenizer: str | None = None) -> ModelFacts:
    """What a model folder's files say, read once as long as they do not change.

    Args:
        model: The folder.
        tokenizer: The folder whose tokenizer is used instead of its own; then it need not have one.
    """
    return checks.model_facts(model, needs_tokenizer=tokenizer is None)


def check_further_paths(spec: TrainSpec, settings: Settings) -> None:
    """Refuse a path outside the folders that may be used, whichever parameter names it.

    What a task saved itself lies in our own storage, and may be named too.

    Raises:
        PathNotAllowed: A path lies outside.
    """
    roots = settings.model_roots()
    for name, info in _swept(type(spec)):
        given = getattr(spec, name)
        if given is None:
            continue
        path = local_path(given)
        is_a_name = path is None or (not path.is_absolute() and ".." not in path.parts)
        if about(info).has_role(Role.NAME) and is_a_name:
            continue
        with _at(name):
            if path is None:  # in a storage elsewhere
                allowed_uri(given, [f"{settings.storage_uri.rstrip('/')}/", *settings.allowed_uris])
            else:
                allowed_path(str(path), roots)


def check_starts(spec: TrainSpec, facts: ModelFacts | None = None) -> None:
    """Look at what a training starts from besides its model.

    Args:
        spec: Its parameters.
        facts: What the model's files say, where it was looked at.

    Raises:
        InvalidInput: It is not there, or not what it should be.
    """
    if spec.resume_from_checkpoint:
        with _at("resume_from_checkpoint"):
            check_checkpoint(spec.resume_from_checkpoint, spec)
        with at_spec():
            there = {f"{path}.weight": shape for path, shape in facts.modules.items()} if facts else {}
            check_same_parameters(spec.resume_from_checkpoint, spec, embedding_rows(there))
    if spec.use_lora and spec.attach_lora and spec.attach_lora_path:
        with _at("attach_lora_path"):
            check_adapter(spec.attach_lora_path)
    elif spec.use_lora and spec.peft_config_path:
        with _at("peft_config_path"):
            values = checks.lora_file(Path(spec.peft_config_path), "")
        with at_spec():
            refuse_lora(values, spec, facts.vocab_size if facts else None)


@functools.cache
def _swept(kind: type[TrainSpec]) -> tuple[tuple[str, FieldInfo], ...]:
    """The parameters that name a path and have no look of their own."""
    fields = kind.model_fields.items()
    return tuple(
        (name, info) for name, info in fields if about(info).path and not about(info).has_role(Role.RESOLVED)
    )


def _at(field: str) -> contextlib.AbstractContextManager[None]:
    """Say which parameter a problem belongs to."""
    return at(f"spec.{field}")

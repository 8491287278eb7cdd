"""Evaluating models, as the platform asks it: the loss of one on rows, or candidates that answer samples."""

from pathlib import Path
from typing import Any, cast

from pydantic import Field

from tunesmith import views
from tunesmith.errors import InvalidInput
from tunesmith.evaluation.document import CandidateDocument, EvaluationDocument
from tunesmith.evaluation.samples import default_samples, how_many, sample_sizes
from tunesmith.evaluation.scores import check_weights
from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith.events import EvaluationMade
from tunesmith.model_folder import check_embedder_folder
from tunesmith.model_step import METRIC_PREFIX, ModelOrigin
from tunesmith.spec.base import Notice
from tunesmith.spec.evaluation import DEFAULT_SAMPLES, EMBEDDERS, EvaluateSpec
from tunesmith.spec.pipeline import Step
from tunesmith.spec.task import NewTask
from tunesmith.spec.training import TrainSpec
from tunesmith.spec.variables import variables_in
from tunesmith_platform.backends.protocols import RowsUsed
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.file_state import state_of_folder
from tunesmith_platform.paths import allowed_folder, allowed_path
from tunesmith_platform.sandbox import checks, sample_checks
from tunesmith_platform.sandbox.error_fields import at, at_spec
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.inputs import check_further_paths, look_at_rows
from tunesmith_platform.tasks.kinds import candidates
from tunesmith_platform.tasks.kinds.base import Asking, Pinned, Prepared, Result, rows_of_file
from tunesmith_platform.tasks.kinds.benchmarks import look_at_benchmarks
from tunesmith_platform.tasks.kinds.model_use import ModelInputs, ModelUse
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel

_TURN_TOKENS = 20
"""Of what a template writes around a question, about."""


class ComparisonInputs(ModelInputs):
    """What a comparison is given, resolved: of its first candidate what every model's task has, and all of them."""

    candidates: list[CandidateDocument] = Field(default_factory=list)
    samples_path: str | None = None
    scorers_path: str | None = None
    own_benchmark: dict[str, Any] | None = None


class Evaluation(ModelUse):
    """Tasks that measure a model's loss on rows, or compare candidates by their answers."""

    def prepare(self, scope: Scope, new: NewTask, task_id: str, rows_dir: Path | None = None) -> Prepared:
        """Look at everything that a new task is given."""
        spec = cast(EvaluateSpec, new.spec)
        if not spec.is_comparison:
            return super().prepare(scope, new, task_id, rows_dir)
        notices = list(spec.notices)
        with at_spec():
            inputs = self.look_at_candidates(scope, spec, notices)
        storage = self.parts.settings.storage_uri.rstrip("/")
        return Prepared(
            spec=spec.model_dump(mode="json"),
            inputs=inputs.model_dump(mode="json"),
            notices=tuple(notices),
            parent=(inputs.origin.task_id, inputs.step) if inputs.origin.task_id else None,
            artifact_uri=f"{storage}/tasks/{task_id}/artifacts",
            results=(),
            uses=tuple(
                (one.candidate.task_id, one.candidate.step)
                for one in inputs.candidates
                if one.candidate.task_id is not None
            ),
        )

    def look_at_candidates(
        self, scope: Scope, spec: EvaluateSpec, notices: list[Notice] | None = None
    ) -> ComparisonInputs:
        """Look at every model and at the samples. No transaction may be open.

        Raises:
            InvalidInput: With the problem, its place and cure.
        """
        notices = notices if notices is not None else []
        entrants = candidates.find(self._finder, scope, spec, notices)
        data, dataset = self._samples(scope, spec, entrants, notices)
        base = candidates.base_of(entrants, notices) if spec.include_base else None
        documents = candidates.documents([*([base] if base else []), *entrants], spec, data)
        sorts = TrainSpec.stored(documents[-1].training).training_type == "classification"
        if sorts:
            self._look_at_sorting(spec, data)
        for one in documents:
            training = TrainSpec.stored(one.training)
            check_further_paths(training.model_copy(update={"attach_lora_path": None}), self.parts.settings)
        first = entrants[0].found
        if not sorts:
            with at("chat_template"):
                checks.check_chat_template(first.encoder, first.tokenizer, spec.chat_template)
        scorers, names = self._scorers(spec)
        if spec.composite_weights:
            with at("composite_weights"):
                check_weights(spec.composite_weights, names)
        self._look_at_judge(spec)
        own_benchmark = look_at_benchmarks(
            spec, self.parts.settings.row_roots(), self.parts.compute.look(), notices
        )
        if spec.embedder not in EMBEDDERS:
            with at("embedder"):
                folder = allowed_folder(str(spec.embedder), self.parts.settings.model_roots())
                if not folder.is_dir():
                    raise InvalidInput(
                        f"There is no folder `{folder}`.",
                        hint="Give the folder of a sentence-transformers model, or `none`.",
                    )
                check_embedder_folder(folder)
        own = documents[-len(entrants)]
        return ComparisonInputs(
            model_uri=first.uri,
            step=first.step,
            training=own.training,
            encoder_path=own.encoder_path,
            tokenizer_path=own.tokenizer_path,
            dataset=dataset,
            origin=first.origin if first.origin.task_id else ModelOrigin(base=first.origin.base),
            reads=sorted(
                {path for one in documents for path in (one.candidate.uri, one.base_path)} | {str(data)}
            ),
            candidates=documents,
            samples_path=data,
            scorers_path=scorers,
            own_benchmark=own_benchmark,
        )

    def _look_at_sorting(self, spec: EvaluateSpec, data: str) -> None:
        """See that classifiers can be asked: labelled texts, and nothing that takes an answer.

        Raises:
            InvalidInput: They cannot.
        """
        for name in ("judge_base_url", "scorer_file", "composite_weights", "benchmarks", "benchmark_file"):
            if getattr(spec, name) is not None:
                with at(name):
                    raise InvalidInput(
                        f"`{name}` needs answers, and these models sort texts into classes.",
                        hint="Leave it out: accuracy, macro F1 and the confusion matrix are measured.",
                    )
        with at("sample_file"):
            if data == DEFAULT_SAMPLES:
                raise InvalidInput(
                    "The samples that are brought along have no classes.",
                    hint="Give a file of rows with `text` and `label`.",
                )
            found = sample_checks.count_samples(Path(data), spec.split, spec.columns)
            if found.sortable < found.number:
                raise InvalidInput(
                    f"{found.number - found.sortable} of {found.number} samples are no text with a class.",
                    hint="Write `text` and `label` in each row.",
                )

    def _judge(self, spec: EvaluateSpec) -> JudgeSettings | None:
        """The judge that is wanted; None where none is, or where the administrator does not list it."""
        if spec.judge_base_url is None or spec.judge_model is None:
            return None
        return self.parts.settings.judge(spec.judge_base_url, spec.judge_model)

    def _look_at_judge(self, spec: EvaluateSpec) -> None:
        """See that the administrator lists the judge. What was given is not repeated: it may hold a key.

        Raises:
            InvalidInput: Its address is not listed.
        """
        if spec.judge_base_url is None or self._judge(spec) is not None:
            return
        listed = ", ".join(f"`{one}`" for one in self.parts.settings.judges)
        with at("judge_base_url"):
            raise InvalidInput(
                "The administrator lists no judge at this address, and nothing is sent elsewhere.",
                hint=f"Listed: {listed}." if listed else "Ask for it: the setting is `TUNESMITH_JUDGES`.",
            )

    def _scorers(self, spec: EvaluateSpec) -> tuple[str | None, list[str]]:
        """The file of scorers, looked at, and their names."""
        if spec.scorer_file is None:
            return None, []
        with at("scorer_file"):
            file = allowed_path(spec.scorer_file, self.parts.settings.row_roots())
            if not file.is_file():
                raise InvalidInput(f"There is no file `{spec.scorer_file}`.", hint="Check the path.")
            return str(file), sample_checks.scorer_names(file)

    def _samples(
        self, scope: Scope, spec: EvaluateSpec, entrants: list[candidates.Entrant], notices: list[Notice]
    ) -> tuple[str, str | None]:
        """The sample file, looked at, or the word for those brought along; and the version of its data set."""
        given, dataset = spec.sample_file, None
        if given is None:
            own = {(one.found.eval_path, one.found.eval_dataset) for one in entrants}
            path, dataset = next(iter(own)) if len(own) == 1 else (None, None)
            given = path or DEFAULT_SAMPLES
            message = (
                f"No samples are given: the rows are asked that the task was evaluated on, `{Path(given).name}`."
                if path
                else "No samples are given: those that are brought along are asked."
            )
            notices.append(Notice(field="sample_file", message=message))
        if given == DEFAULT_SAMPLES:
            return DEFAULT_SAMPLES, None
        if spec.sample_file is None:
            found = Path(given)
        else:
            found, dataset = self.file_of(scope, "sample_file", given)
        with at("sample_file"):
            if not sample_checks.count_samples(found, spec.split, spec.columns).number:
                raise InvalidInput(
                    f"`{found.name}` has no samples of the part `{spec.split}`.",
                    hint="Set `split`, or give a file that has them.",
                )
        return str(found), dataset

    def asking(self, scope: Scope, new: NewTask) -> Asking:
        """What it would have models answer."""
        spec = cast(EvaluateSpec, new.spec)
        if not spec.is_comparison:
            return super().asking(scope, new)
        with at_spec():
            inputs = self.look_at_candidates(scope, spec)
        path = str(inputs.samples_path)
        if path == DEFAULT_SAMPLES:
            found = sample_sizes(default_samples().of(spec.split))
        else:
            found = sample_checks.count_samples(Path(path), spec.split, spec.columns)
        each = max(1, found.number)
        own = inputs.candidates[-1]
        sorts = TrainSpec.stored(own.training).training_type == "classification"
        new_tokens = 0 if sorts else spec.max_new_tokens
        return Asking(
            models=tuple(one.candidate.label for one in inputs.candidates),
            folder=Path(own.encoder_path),
            training=TrainSpec.stored(own.training),
            device=spec.device,
            samples=how_many(found.number, spec.sample_ratio, spec.min_samples, spec.max_samples),
            repeats=spec.asked_times,
            prompt_tokens=found.asked / each + _TURN_TOKENS,
            reference_tokens=found.expected / each,
            longest_tokens=round(found.longest) + _TURN_TOKENS + new_tokens,
            new_tokens=new_tokens,
            batch=spec.per_device_eval_batch_size,
        )

    def document(self, task: TaskRow, number: int) -> EvaluationDocument:
        """What an attempt of a task is handed."""
        inputs = ComparisonInputs.model_validate(task.inputs)
        return EvaluationDocument(
            **self.attempt(task, number),
            artifact_uri=task.artifact_uri,
            allowed_scorers=self.parts.settings.allowed_scorers,
            judge=self._judge(EvaluateSpec.stored(task.spec)),
            **inputs.model_dump(exclude={"dataset", "reads"}),
        )

    def rows_used(self, task: TaskRow) -> list[RowsUsed]:
        """The rows, or the samples, that models are used on."""
        given = ComparisonInputs.model_validate(task.inputs)
        if given.samples_path is None:
            return super().rows_used(task)
        return [rows_of_file(given.samples_path, given.dataset, None, context="evaluation")]

    def look_ahead(self, scope: Scope, step: Step) -> None:
        """See `KindBehaviour.look_ahead`; of a comparison its candidates and samples."""
        if any(variables_in(step.parameters)):
            return
        spec = EvaluateSpec.read(step.parameters)
        if spec.is_comparison:
            self.look_at_candidates(scope, spec)
        else:
            super().look_ahead(scope, step)

    def pinned(self, scope: Scope, spec: Any, given: Any) -> Pinned:
        """A step with the versions of what it names; a comparison with the checkpoints that there are today."""
        assert isinstance(spec, EvaluateSpec)
        if not spec.is_comparison:
            return super().pinned(scope, spec, given)
        entrants = candidates.find(self._finder, scope, spec)
        named = [one.words for one in entrants]
        fixed: dict[str, Any] = {"checkpoints": named}
        if spec.sample_file != DEFAULT_SAMPLES:
            fixed |= self.parts.datasets.seen_by(scope).pinned(spec, ("sample_file",))
        return Pinned({**given, **fixed}, {**given, **fixed, "uris": [one.found.uri for one in entrants]})

    def rows_of(self, scope: Scope, spec: EvaluateSpec, found: FoundModel) -> tuple[Path | None, str | None]:
        """The rows that are measured: those that the model was trained to be evaluated on where none are given."""
        if spec.eval_file is not None:
            return self.file_of(scope, "eval_file", spec.eval_file)
        if found.eval_path is not None:
            return Path(found.eval_path), found.eval_dataset
        with at("eval_file"):
            raise InvalidInput(
                "Which rows to evaluate on is not given, and the model was trained without an evaluation file.",
                hint="Write `dataset: ${jobs.<id>.output}`, a file, or a data set's name.",
            )

    def look_at_rows(self, _spec: Any, training: TrainSpec, found: FoundModel, data: Path | None) -> None:
        """See that every row can be encoded as the model was trained."""
        assert data is not None
        tokenizer = state_of_folder(found.tokenizer) if found.tokenizer else None
        look_at_rows("eval_file", data, training, state_of_folder(found.encoder), tokenizer)

    def result(self, scope: Scope, task: views.TaskView) -> Result:
        """What was measured, under the names that charts have without their prefix; of a comparison what it says."""
        with self.parts.database.read() as session:
            made = events.last_of_kind(session, scope, task.id, "evaluation_made", 1)
            last = events.last_of_kind(session, scope, task.id, "metrics", 1)
        if made:
            found = EvaluationMade.model_validate(made[0].payload)
            return Result({}, {"recommended": found.recommended, "scores": found.means, "uri": found.uri})
        values = last[0].payload["values"] if last else {}
        measured = {name.removeprefix(METRIC_PREFIX): value for name, value in values.items()}
        return Result({}, {"metrics": measured})

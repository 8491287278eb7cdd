"""Answers on files before anything is trained on them: the report, and rows under the microscope.

Finds what a client names, and has it read with the code that trains; bounded in time, as somebody waits.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tunesmith.errors import UnknownField
from tunesmith.limits import MAX_COUNT
from tunesmith.rows.report.preview import MAX_ROWS
from tunesmith.spec.given import Given
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.sandbox import checks
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.find_inputs import AllDatasets, AllModels, find_file, find_model
from tunesmith_platform.tasks.inputs import check_further_paths, facts_of

MAX_SECONDS = 20.0
"""Less than a client waits for an answer."""
_NAMED_APART = ("model_name_or_path", "train_file", "eval_file")


class DataQuestion(Given):
    """Which file, and how it would be read."""

    model_config = ConfigDict(protected_namespaces=())
    file: str = Field(
        min_length=1, max_length=4096, description="An absolute path, or `name`, or `name@number`."
    )
    eval_file: str | None = Field(None, min_length=1, max_length=4096, description="Held-out rows.")
    model: str | None = Field(
        None, min_length=1, max_length=4096, description="A model: tokens are counted as it reads them."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Training parameters that decide how rows are read: `max_length`, `training_type`, ...",
    )
    allowed_bad_percent: float = Field(0.0, ge=0, le=100, description="Share of the rows that may be bad.")


class PreviewQuestion(Given):
    """Which rows of which file, and how they would be trained."""

    model_config = ConfigDict(protected_namespaces=())
    file: str = Field(
        min_length=1, max_length=4096, description="An absolute path, or `name`, or `name@number`."
    )
    model: str = Field(min_length=1, max_length=4096, description="The model that would learn.")
    rows: list[Annotated[int, Field(ge=1, le=MAX_COUNT)]] = Field(
        default_factory=list,
        max_length=MAX_ROWS,
        description="Their lines, or their numbers in an array or table.",
    )
    first: int = Field(1, ge=1, le=MAX_ROWS, description="How many of the first rows, where none is named.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="See the report.")


class ReportService:
    """Reports and previews."""

    def __init__(self, settings: Settings, models: AllModels, datasets: AllDatasets) -> None:
        self._settings = settings
        self._models = models
        self._datasets = datasets

    def validate(self, scope: Scope, question: DataQuestion) -> bytes:
        """What a file holds, and what is wrong with it: a `DataReport` as JSON.

        Raises:
            InvalidInput: Something that is named is not there, may not be read, or is of no use as a whole.
        """
        spec = self._spec(question.parameters)
        evaluation = self._file(scope, question.eval_file) if question.eval_file else None
        return checks.validated(
            self._file(scope, question.file),
            spec,
            evaluation=evaluation,
            model=self._model(scope, question.model, spec) if question.model else None,
            tokenizer=self._tokenizer(scope, spec),
            allowed_bad_percent=question.allowed_bad_percent,
            max_seconds=MAX_SECONDS,
        )

    def preview(self, scope: Scope, question: PreviewQuestion) -> bytes:
        """Rows as they would be trained: a `DataPreview` as JSON.

        Raises:
            InvalidInput: Something that is named is not there, may not be read, or is of no use as a whole.
            NotFound: The file has no such row.
        """
        spec = self._spec(question.parameters)
        return checks.previewed(
            self._file(scope, question.file),
            spec,
            self._model(scope, question.model, spec),
            tokenizer=self._tokenizer(scope, spec),
            rows=question.rows,
            first=question.first,
        )

    def _spec(self, given: dict[str, Any]) -> TrainSpec:
        canonical, _ = TrainSpec.canonical(given)
        for name in _NAMED_APART:
            if name in canonical:
                raise UnknownField(
                    f"`{name}` is named by a field of its own here.",
                    field=f"parameters.{name}",
                    hint="Use `file`, `eval_file` or `model`.",
                )
        spec = TrainSpec.read({**given, "model_name_or_path": "-", "train_file": "-"})
        check_further_paths(spec, self._settings)
        return spec

    def _file(self, scope: Scope, given: str) -> Path:
        return find_file(given, self._settings, self._datasets.seen_by(scope))[0]

    def _model(self, scope: Scope, given: str, spec: TrainSpec) -> Path:
        folder = find_model(given, self._settings, self._models.seen_by(scope))
        facts_of(folder, spec.tokenizer_name_or_path)  # refuses what is no model
        return folder

    def _tokenizer(self, scope: Scope, spec: TrainSpec) -> Path | None:
        named = spec.tokenizer_name_or_path
        return find_model(named, self._settings, self._models.seen_by(scope)) if named else None

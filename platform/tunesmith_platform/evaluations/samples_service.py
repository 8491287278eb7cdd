"""Samples of evaluations: ours, what a file holds, and data sets of samples that are edited version by version.

Files are read by the sandbox's workers. A version is a file of JSON lines in the registry of data sets; one edit of a
data set waits for the other, so that none is lost.
"""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tunesmith.errors import Conflict, InvalidInput, NotFound, Problem
from tunesmith.evaluation.results import Split, Turn
from tunesmith.evaluation.sample_edit import file_of
from tunesmith.evaluation.sample_file import MAX_SAMPLES
from tunesmith.evaluation.sample_views import SampleCheck, SamplesEdited
from tunesmith.evaluation.samples import Language, default_samples
from tunesmith.removal import discard_file
from tunesmith.spec.dataset import DATASET_NAME
from tunesmith.spec.given import Given
from tunesmith.spec.problems import ruled_out
from tunesmith_platform.clock import new_id
from tunesmith_platform.datasets.service import DatasetService
from tunesmith_platform.db.engine import Database
from tunesmith_platform.leases import held
from tunesmith_platform.sandbox import sample_checks
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.find_inputs import find_file

MAX_SHOWN = MAX_SAMPLES
"""Samples that one answer shows."""
_EDIT_SECONDS = 30.0
"""How long an edit waits for another of the same data set."""
_Column = Annotated[str, Field(min_length=1, max_length=200)]


class SampleQuestion(Given):
    """Which file, and how its samples would be read."""

    file: str = Field(
        min_length=1, max_length=4096, description="An absolute path, or `name`, or `name@number`."
    )
    prompt_column: _Column | None = Field(None, description="The column of what is asked; found by its name.")
    response_column: _Column | None = Field(None, description="The column of the expected answer.")
    system_column: _Column | None = Field(None, description="The column of system prompts.")
    default_split: Split = Field("validation", description="What rows belong to that name no `split`.")
    split: Split | None = Field(None, description="Show samples of this split alone.")
    first: int = Field(20, ge=0, le=MAX_SHOWN, description="How many samples to show.")


class NewSample(Given):
    """A sample: a prompt with its completion, or a conversation whose last answer is the expected one."""

    split: Split = "validation"
    prompt: str | None = Field(None, max_length=1_000_000, description="What is asked.")
    completion: str | None = Field(None, max_length=1_000_000, description="The answer that is expected.")
    system: str | None = Field(None, max_length=1_000_000, description="A system prompt before it.")
    messages: list[Turn] | None = Field(
        None, max_length=1000, description="A conversation, instead of `prompt`, `completion` and `system`."
    )
    keywords: list[str] | None = Field(None, description="What the answer must name.")
    checks: list[str] | None = Field(None, description="What its form must keep, as `json` or `words<=50`.")
    label: str | None = Field(None, max_length=500, description="The class that is expected.")
    id: str | None = Field(None, max_length=500, description="What you call it.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.messages is not None and (self.prompt, self.completion, self.system) != (None, None, None):
            raise ruled_out(
                [
                    Problem(
                        field="messages",
                        message="A sample is a prompt with its completion, or `messages`: here it is both.",
                        hint="Leave one out; a system prompt is the first of the messages.",
                    )
                ]
            )
        return self


class SampleEdit(Given):
    """What becomes of a data set's samples; the next version of it has them."""

    dataset: str = Field(pattern=DATASET_NAME, description="The data set's name; made where there is none.")
    add: list[NewSample] = Field(default_factory=list, max_length=MAX_SAMPLES)
    remove: list[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]] = Field(
        default_factory=list, max_length=MAX_SAMPLES, description="Ids of samples."
    )
    if_version: int | None = Field(
        None, ge=0, le=10**9, description="Refuse where its newest version is another; 0: where there is one."
    )


class SampleService:
    """Ours, checks, and edits."""

    def __init__(self, database: Database, settings: Settings, datasets: DatasetService) -> None:
        self._database = database
        self._settings = settings
        self._datasets = datasets

    def default(self, language: Language | Literal["all"]) -> dict[Split, list[dict[str, Any]]]:
        """The samples that come with Tunesmith, as a sample file."""
        found = default_samples() if language == "all" else default_samples((language,))
        return file_of(found.samples)

    def check(self, scope: Scope, question: SampleQuestion) -> SampleCheck:
        """What a sample file holds.

        Raises:
            InvalidInput: It is not there, may not be read, or is of no use as a whole.
        """
        file = find_file(question.file, self._settings, self._datasets.seen_by(scope))[0]
        return sample_checks.sample_check(
            file,
            columns={
                "prompt_column": question.prompt_column,
                "response_column": question.response_column,
                "system_column": question.system_column,
            },
            default_split=question.default_split,
            split=question.split,
            first=question.first,
        )

    def edit(self, scope: Scope, edit: SampleEdit) -> tuple[SamplesEdited, bool]:
        """Add samples to a data set and take some out: its next version, and whether one was made.

        Raises:
            InvalidData: What is given, or what is there, is no sample.
            Conflict: It is not at the version that was named.
        """
        if not edit.add and not edit.remove:
            raise InvalidInput("Nothing is to be added or removed.", hint="Give `add` or `remove`.")
        with held(self._database, _lease(edit.dataset), _EDIT_SECONDS):
            latest = self._latest(scope, edit.dataset)
            if edit.if_version is not None and edit.if_version != latest:
                raise Conflict(
                    f"`{edit.dataset}` is at version {latest}, not {edit.if_version}.",
                    hint="Look at its samples again, then edit them.",
                    details={"version": latest},
                )
            stored = self._datasets.find(scope, f"{edit.dataset}@{latest}") if latest else None
            add = [sample.model_dump(mode="json", exclude_none=True) for sample in edit.add]
            found = sample_checks.edited_samples(stored.path if stored else None, add, edit.remove)
            if latest and not found.added and not found.removed:
                view, made = self._datasets.get(scope, edit.dataset), False
            else:
                view, made = self._write(scope, edit.dataset, found.text)
        edited = SamplesEdited(
            dataset=view,
            version=f"{view.name}@{view.latest}",
            counts=found.counts,
            added=found.added,
            removed=found.removed,
            missing=found.missing,
        )
        return edited, made

    def _latest(self, scope: Scope, name: str) -> int:
        """The number of the newest version; 0 where there is no such data set."""
        try:
            return self._datasets.get(scope, name).latest
        except NotFound:
            return 0

    def _write(self, scope: Scope, name: str, text: str) -> Any:
        part = self._datasets.scratch() / new_id("samples")
        try:
            part.write_text(text, encoding="utf-8")
            return self._datasets.take(scope, name, part, f"{name}.jsonl", None, source="samples")
        finally:
            discard_file(part)


def _lease(dataset: str) -> str:
    return f"samples {hashlib.sha256(dataset.encode()).hexdigest()[:32]}"

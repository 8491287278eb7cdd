"""What users see of evaluations: the live table, what was found, reports; figures computed once more without a cluster.

Knows the event log and the database; what is in a result, workers are asked (`sandbox.results`).
"""

from typing import Literal

from tunesmith import views
from tunesmith.errors import Conflict, NotFound
from tunesmith.evaluation_views import CandidateProgress, EvaluationSummary, EvaluationView, Recompute
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EvaluationRow
from tunesmith_platform.evaluations import repository
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.sandbox.results import Results, StoredResult
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks

Table = Literal["answers", "candidates"]


class EvaluationService:
    """Every task's evaluation."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._results = Results()

    def view(self, scope: Scope, task_id: str) -> EvaluationView:
        """What is known of an evaluation so far.

        Raises:
            NotFound: There is no such task.
            Conflict: It compares no candidates.
        """
        with self._database.read() as session:
            task = tasks.require(session, scope, task_id)
            scored = events.newest_of_each(session, scope, task_id, "scored", "candidate")
            row = repository.find(session, scope, task_id)
        if not task.inputs.get("candidates"):
            raise Conflict(
                f"Task `{task.name}` compares no candidates.",
                hint="Only a task of kind `evaluate` with candidates does.",
            )
        table: dict[str, CandidateProgress] = {}
        for entry in scored:
            one = CandidateProgress.model_validate(entry.payload)
            if row is not None and one.candidate in row.means:
                # Compared with the others: of a sample a score that one lacks counts for none.
                one = one.model_copy(update={"means": row.means[one.candidate]})
            table[one.candidate] = one
        order = [one["candidate"]["key"] for one in task.inputs["candidates"]]
        return EvaluationView(
            task_id=task.id,
            name=task.name,
            state=task.state,
            candidates=[table[key] for key in order if key in table],
            recommended=row.recommended if row else None,
            sentence=row.sentence if row else {},
            comparable_by=row.comparable_by if row else None,
            is_partial=row.is_partial if row else False,
            uri=row.uri if row else None,
            created_at=row.created_at if row else None,
        )

    def page(
        self, scope: Scope, of_task: str | None, after: str | None, limit: int
    ) -> views.Page[EvaluationSummary]:
        """Evaluations, newest first; of a task's checkpoints where one is named."""
        with self._database.read() as session:
            rows = repository.newest(session, scope, of_task, after, limit + 1)
        return views.Page.of([_summary(row) for row in rows], limit, lambda one: one.task_id)

    def result(self, scope: Scope, task_id: str) -> bytes:
        """All that an evaluation found: an `EvaluationResult` as JSON, which may be large and is only passed on.

        Raises:
            NotFound: There is no such task, or it has found nothing yet.
            Unavailable: The storage does not give it back as it was stored.
        """
        return self._results.ask("evaluation_result", self._stored(scope, task_id))

    def recomputed(self, scope: Scope, task_id: str, how: Recompute) -> bytes:
        """An evaluation's figures computed once more with other weights, or of another score; as `result`.

        Raises:
            NotFound: See `result`.
            InvalidInput: No such score was measured.
        """
        stored = self._stored(scope, task_id)
        return self._results.ask("evaluation_recomputed", stored, weights=how.weights, score=how.score)

    def report(self, scope: Scope, task_id: str, language: Literal["en", "zh"]) -> bytes:
        """The report, a page that stands by itself."""
        return self._results.ask("evaluation_report", self._stored(scope, task_id), language=language)

    def table(self, scope: Scope, task_id: str, which: Table) -> bytes:
        """A table as CSV."""
        return self._results.ask("evaluation_table", self._stored(scope, task_id), which=which)

    def _stored(self, scope: Scope, task_id: str) -> StoredResult:
        with self._database.read() as session:
            tasks.require(session, scope, task_id)
            row = repository.find(session, scope, task_id)
        if row is None:
            raise NotFound(
                f"Task `{task_id}` has found nothing yet.",
                hint="Wait until it has completed: `tunesmith watch`.",
            )
        return StoredResult(task_id, row.uri, row.sha256)


def _summary(row: EvaluationRow) -> EvaluationSummary:
    return EvaluationSummary(
        task_id=row.task_id,
        recommended=row.recommended,
        sentence=row.sentence,
        comparable_by=row.comparable_by,
        is_partial=row.is_partial,
        means=row.means,
        created_at=row.created_at,
    )

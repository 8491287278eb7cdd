"""What users see of evaluations: the live table, what was found, reports; figures computed once more without a cluster.

Knows the event log, the database and the storage; knows no model.
"""

import hashlib
from typing import Literal

from tunesmith import views
from tunesmith.errors import Conflict, InvalidInput, NotFound, Unavailable
from tunesmith.evaluation.recomputing import recompute
from tunesmith.evaluation.report import answers_csv, candidates_csv, html
from tunesmith.evaluation.results import RESULT_FILE, EvaluationResult
from tunesmith.evaluation.scores import check_weights
from tunesmith.evaluation_views import CandidateProgress, EvaluationSummary, EvaluationView, Recompute
from tunesmith.storage import open_storage
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import EvaluationRow
from tunesmith_platform.evaluations import repository
from tunesmith_platform.event_log import repository as events
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks import repository as tasks

_MOST_SCORED = 10_000
Table = Literal["answers", "candidates"]


class EvaluationService:
    """Every task's evaluation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def view(self, scope: Scope, task_id: str) -> EvaluationView:
        """What is known of an evaluation so far.

        Raises:
            NotFound: There is no such task.
            Conflict: It compares no candidates.
        """
        with self._database.read() as session:
            task = tasks.require(session, scope, task_id)
            scored = events.after(session, scope, task_id, 0, _MOST_SCORED, ["scored"])
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
        return EvaluationView(
            task_id=task.id,
            name=task.name,
            state=task.state,
            candidates=list(table.values()),
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

    def result(self, scope: Scope, task_id: str) -> EvaluationResult:
        """All that an evaluation found.

        Raises:
            NotFound: There is no such task, or it has found nothing yet.
            Unavailable: The storage does not give it back as it was stored.
        """
        with self._database.read() as session:
            tasks.require(session, scope, task_id)
            row = repository.find(session, scope, task_id)
        if row is None:
            raise NotFound(
                f"Task `{task_id}` has found nothing yet.",
                hint="Wait until it has completed: `tunesmith watch`.",
            )
        data = open_storage(row.uri).read(RESULT_FILE)
        if data is None or hashlib.sha256(data).hexdigest() != row.sha256:
            what = "gone" if data is None else "not what was stored"
            raise Unavailable(
                f"The result of task `{task_id}` in the storage is {what}.",
                hint="Evaluate again: what was answered is known, and costs no generation.",
            )
        return EvaluationResult.model_validate_json(data)

    def recomputed(self, scope: Scope, task_id: str, how: Recompute) -> EvaluationResult:
        """An evaluation's figures computed once more with other weights, or of another score.

        Raises:
            NotFound: See `result`.
            InvalidInput: No such score was measured.
        """
        result = self.result(scope, task_id)
        known = {name for one in result.candidates for name in one.means}
        if how.score not in known:
            raise InvalidInput(
                f"No score `{how.score}` was measured.",
                hint=f"Measured: {', '.join(sorted(known))}.",
                field="score",
            )
        weights = check_weights(how.weights) if how.weights else None
        order = [one.candidate.key for one in result.candidates]
        return recompute(result, weights=weights, score=how.score, order=order)

    def report(self, scope: Scope, task_id: str, language: Literal["en", "zh"]) -> str:
        """The report, a page that stands by itself."""
        return html(self.result(scope, task_id), language)

    def table(self, scope: Scope, task_id: str, which: Table) -> str:
        """A table as CSV."""
        result = self.result(scope, task_id)
        return "".join(answers_csv(result) if which == "answers" else candidates_csv(result))


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

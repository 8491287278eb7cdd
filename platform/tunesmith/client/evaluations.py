"""Evaluations, from Python: compare checkpoints, see what was found.

Knows the evaluations' endpoints and views; knows no HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tunesmith import views
from tunesmith.client.tasks import Tasks
from tunesmith.evaluation.results import EvaluationResult
from tunesmith.evaluation_views import EvaluationForecast, EvaluationSummary, EvaluationView
from tunesmith.spec.evaluation import new_evaluation


class Evaluations(Tasks):
    """Every call on evaluations; they are the client's own methods."""

    def evaluate(
        self,
        task: str | None = None,
        checkpoints: Sequence[int | str] | None = None,
        samples: str | None = None,
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
        **parameters: Any,
    ) -> views.TaskView:
        """Submit a comparison of checkpoints by their answers to samples.

        Args:
            task: Whose checkpoints; its id or its name.
            checkpoints: Steps, `all`, `final`, `TASK:40`, folders or models' names; all of the task's when None.
            samples: A file, a data set's name or `default`; the rows that the task was evaluated on when None.
            name: Of the task that is made.
            idempotency_key: See `create_task`.
            parameters: Any other parameter of an evaluation.

        Raises:
            InvalidInput: Something cannot be used; each problem names its place and its cure.
        """
        spec: dict[str, Any] = dict(parameters)
        if task is not None:
            spec["task_id"] = self.task(task).id
        spec["checkpoints"] = [str(one) for one in checkpoints] if checkpoints is not None else ["all"]
        if samples is not None:
            spec["sample_file"] = samples
        more = {"name": name} if name is not None else {}
        return self.create_task(new_evaluation(spec, **more), idempotency_key)

    def forecast_evaluation(self, new: Mapping[str, Any]) -> EvaluationForecast:
        """What an evaluation will take: generations, memory, time. Starts nothing.

        Args:
            new: What `create_task` takes.

        Raises:
            InvalidInput: Something cannot be used; each problem names its place and its cure.
        """
        answer = self._transport.call("POST", "/v1/evaluations:forecast", body=dict(new))
        return self._view(EvaluationForecast, answer)

    def evaluation(self, task: str) -> EvaluationView:
        """An evaluation: how far each candidate is, how it does so far, and what may be said in the end."""
        return self._get(EvaluationView, f"{self._path(task)}/evaluation")

    def evaluations(self, of_task: str | None = None, limit: int = 100) -> list[EvaluationSummary]:
        """What evaluations found, newest first; of a task's checkpoints where one is named."""
        query: Mapping[str, Any] = {"task": of_task, "limit": limit}
        return self._get(views.Page[EvaluationSummary], "/v1/evaluations", query).data

    def evaluation_result(self, task: str) -> EvaluationResult:
        """All that an evaluation found: samples, answers, scores, comparison.

        Raises:
            NotFound: It has found nothing yet.
        """
        return self._get(EvaluationResult, f"{self._path(task)}/evaluation/result")

    def recompute_evaluation(
        self, task: str, weights: Mapping[str, float] | None = None, score: str = "composite"
    ) -> EvaluationResult:
        """An evaluation's figures computed once more, with other weights or of another score. Nothing is stored.

        Raises:
            InvalidInput: No such score was measured, or a weight cannot be used.
        """
        body = {"weights": dict(weights) if weights is not None else None, "score": score}
        return self._view(
            EvaluationResult,
            self._transport.call("POST", f"{self._path(task)}/evaluation:recompute", body=body),
        )

    def evaluation_report(self, task: str, language: Literal["en", "zh"] = "en") -> str:
        """The report: a page of HTML that stands by itself."""
        return self._text(f"{self._path(task)}/evaluation/report", {"language": language})

    def evaluation_table(self, task: str, which: Literal["answers", "candidates"] = "candidates") -> str:
        """A table as CSV: a row an answer, or a row a candidate."""
        return self._text(f"{self._path(task)}/evaluation/{which}.csv")

    def _text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        with self._transport.open_file(path, query) as pieces:
            return b"".join(pieces).decode()

"""Curves, comparisons and exports of what tasks measured.

What draws and writes them is imported when it is first asked for: it needs numpy, which a start does not.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from tunesmith import views
from tunesmith.curves import (
    MAX_POINTS,
    ComparedTask,
    Comparison,
    Curve,
    Curves,
    ExportFormat,
    Score,
)
from tunesmith.errors import InvalidInput
from tunesmith_platform.db.engine import Database
from tunesmith_platform.db.tables import TaskRow
from tunesmith_platform.scope import Scope
from tunesmith_platform.series.query import EVERYTHING, Wish
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks import repository as tasks
from tunesmith_platform.tasks.view import task_view

if TYPE_CHECKING:
    from tunesmith_platform.events.ingest import Fold
    from tunesmith_platform.series.reading import Piece

_SCORED = ("loss", "perplexity")
_SCORE_POINTS = 64


def folding() -> "Fold":
    """What folds measurements into chunks."""
    from tunesmith_platform.series.chunks import fold

    return fold


class SeriesService:
    """What tasks measured, for charts and files."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def curves(self, scope: Scope, task_id: str, names: Sequence[str] | None, wish: Wish) -> Curves:
        """A task's curves.

        Raises:
            InvalidInput: The wish cannot be met.
        """
        from tunesmith_platform.series.curves import curves as curves_of

        _check(wish)
        with self._moment() as session:
            task = tasks.require(session, scope, task_id)
            return Curves(x=wish.x, mode=wish.mode, curves=curves_of(session, scope, task, names, wish))

    def metrics(
        self, scope: Scope, task_id: str, names: Sequence[str] | None, points: int = MAX_POINTS
    ) -> views.Metrics:
        """A task's curves point by point; of each step what was measured last."""
        found = self.curves(scope, task_id, names, Wish(points=points)).curves
        return views.Metrics(
            series={
                curve.name: [
                    views.MetricPoint.model_validate(
                        {"step": step, "value": value, "time": time, "attempt": of}
                    )
                    for step, value, time, of in zip(
                        curve.step, curve.value, curve.time, curve.attempts, strict=True
                    )
                ]
                for curve in found
            }
        )

    def compare(self, scope: Scope, task_ids: Sequence[str], names: Sequence[str], wish: Wish) -> Comparison:
        """Several tasks' curves, and what each of them reached.

        Raises:
            InvalidInput: The wish cannot be met.
        """
        from tunesmith_platform.series.curves import curves as curves_of

        _check(wish)
        compared: list[ComparedTask] = []
        curves: list[Curve] = []
        for task_id in dict.fromkeys(task_ids):
            with self._moment() as session:
                task = tasks.require(session, scope, task_id)
                shown = task_view(task, tasks.mirror_of(session, scope, task.id), self._settings)
                compared.append(ComparedTask(task=shown, scores=_scores(session, scope, task, names)))
                curves += curves_of(session, scope, task, names, wish)
        return Comparison(x=wish.x, tasks=compared, curves=curves)

    def export(
        self, scope: Scope, task_id: str, kind: ExportFormat, names: Sequence[str] | None
    ) -> Iterator[bytes]:
        """Everything a task measured as a file, in parts.

        Raises:
            NotFound: No such task. It is said at once, not with the first part.
        """
        from tunesmith_platform.series import exporting
        from tunesmith_platform.series.reading import pieces

        with self._moment() as session:
            found = pieces(session, scope, tasks.require(session, scope, task_id), names)
        write = exporting.parquet_parts if kind is ExportFormat.PARQUET else exporting.csv_parts
        return write(scope, self._database, task_id, found)

    @contextlib.contextmanager
    def _moment(self) -> Iterator[Session]:
        """A transaction that sees the mark, the chunks and the log as they were at one moment."""
        with self._database.read() as session:
            if not self._database.is_sqlite:  # there every transaction is such a one
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session


def _check(wish: Wish) -> None:
    if wish.window.first > wish.window.last:
        raise InvalidInput("`from` lies behind `to`.", field="from", hint="The window is from..to, in steps.")
    if wish.ema is not None and wish.average is not None:
        raise InvalidInput(
            "`ema` and `average` are two ways of smoothing.", field="ema", hint="Give one of them."
        )


def _scores(session: Session, scope: Scope, task: TaskRow, names: Sequence[str]) -> list[Score]:
    from tunesmith_platform.series.reading import pieces

    found = pieces(session, scope, task, None)
    return [
        _score(session, scope, task.id, name, parts)
        for name, parts in found.items()
        if name in names or name in _SCORED or name.startswith("eval_")
    ]


def _score(session: Session, scope: Scope, task_id: str, name: str, parts: "Sequence[Piece]") -> Score:
    import numpy as np

    from tunesmith_platform.series.reading import read

    got = read(session, scope, task_id, name, parts, EVERYTHING, merged=True)
    points = got.points[np.argsort(got.points["step"], kind="stable")]
    lowest, highest = points[points["value"].argmin()], points[points["value"].argmax()]
    return Score(
        name=name,
        count=sum(got.counts.values()),
        last=points["value"][-1],
        last_step=points["step"][-1],
        lowest=lowest["value"],
        lowest_step=lowest["step"],
        highest=highest["value"],
        highest_step=highest["step"],
    )

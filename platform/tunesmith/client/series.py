"""What tasks measured: curves for charts, comparisons, and every point as a file.

Knows the endpoints and views of curves; knows no HTTP.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from tunesmith.client.calls import Calls
from tunesmith.curves import Axis, Comparison, Curves, ExportFormat, Mode
from tunesmith.errors import InvalidInput
from tunesmith.removal import new_file


class CurveWish(TypedDict, total=False):
    """How curves are drawn; what is left out is the server's default."""

    points: int
    """Of each metric at the most (10 to 4000); the lowest and the highest of every stretch are kept."""
    first: int
    """The window's first step."""
    last: int
    """The window's last step."""
    x: Axis | str
    """`step`, `tokens` or `time` (seconds since the task started)."""
    ema: float
    """Smooth: the weight of each point in an exponential moving average."""
    average: int
    """Smooth: so many points in a moving average."""


class Series(Calls):
    """`client.series`: every call on what tasks measured."""

    def curves(
        self,
        task: str,
        names: Sequence[str] | None = None,
        *,
        mode: Mode | str = Mode.MERGED,
        **wish: Unpack[CurveWish],
    ) -> Curves:
        """A task's curves, reduced with their extremes kept.

        Args:
            task: Whose, by its id or unique name.
            names: Only these metrics.
            mode: How attempts are put together: `merged`, `segments` or `accumulated`.
            wish: Points, window, axis and smoothing.
        """
        query = {"name": list(names) if names else None, "mode": str(mode)} | _query(wish)
        return self._get(Curves, f"{self._path(task)}/curves", query)

    def compare(
        self, tasks: Sequence[str], names: Sequence[str] | None = None, **wish: Unpack[CurveWish]
    ) -> Comparison:
        """Several tasks' curves to lay over each other, with what each task reached.

        Args:
            tasks: Up to 20, by their ids or unique names.
            names: These curves; `loss` if not given.
            wish: Points, window, axis and smoothing.
        """
        query = {"task": [self._id(task) for task in tasks], "name": list(names) if names else None} | _query(
            wish
        )
        return self._get(Comparison, "/v1/metrics:compare", query)

    def export(
        self,
        task: str,
        file: Path | str,
        names: Sequence[str] | None = None,
        *,
        file_format: ExportFormat | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write everything a task measured into a file, redone steps and all.

        Args:
            task: Whose, by its id or unique name.
            file: Where to; it is there only once it is complete.
            names: Only these metrics.
            file_format: CSV or Parquet; as the file's name ends, if not given.
            overwrite: Whether a file that is there is replaced.

        Raises:
            InvalidInput: The file's name tells no format.
            NotOurs: The file is there, and is not to be replaced.
        """
        target = Path(file)
        kind = file_format or format_of(target)
        query = {"format": kind.value, "name": list(names) if names else None}
        path = f"{self._path(task)}/metrics:export"
        with (
            new_file(target, overwrite=overwrite) as out,
            self._transport.open_file(path, query) as blocks,
        ):
            for block in blocks:
                out.write(block)
        return target


def format_of(file: Path) -> ExportFormat:
    """The format that a file's name tells.

    Raises:
        InvalidInput: None.
    """
    try:
        return ExportFormat(file.suffix.lower().removeprefix("."))
    except ValueError:
        raise InvalidInput(
            f"`{file.name}` tells no format.", field="file", hint="Let it end in `.csv` or `.parquet`."
        ) from None


def _query(wish: CurveWish) -> dict[str, Any]:
    named: dict[str, Any] = {**wish}
    renamed = {"first": "from", "last": "to"}
    return {
        renamed.get(name, name): str(value) if name == "x" else value
        for name, value in named.items()
        if value is not None
    }

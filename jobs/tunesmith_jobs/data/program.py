"""What the attempts of an operation on data do: carry it out, and bring its rows where they stay.

Secrets are read from this process's environment, or from files that it names, as far as the document allows. Needs no
Ray and no torch.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.activity import ActivityKind, Unit
from tunesmith.data_step import DataDocument, DataOutput, place_of
from tunesmith.errors import InvalidInput
from tunesmith.events import DatasetMade, LogLine, Progress
from tunesmith.lifecycle import Desired, Reason
from tunesmith.outcome import Outcome
from tunesmith.proxies import going_outside
from tunesmith.rows.files.detect_format import recognise
from tunesmith.secret_values import named
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.variables import resolve, variables_in
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.data.meter import Meter
from tunesmith_jobs.data.operations import run
from tunesmith_jobs.document import is_stop_requested
from tunesmith_jobs.failures import Stopped, StorageFailed, Superseded
from tunesmith_jobs.outlet import Outlet
from tunesmith_jobs.program import Program, WorkerContext


class Operations(Program[DataDocument]):
    """Carries an operation on data out, in the driver's own process."""

    document = DataDocument

    def work(self, document: DataDocument, outlet: Outlet, context: WorkerContext) -> Outcome:
        """See `Program.work`. What it made is reported on the way."""
        return _work(document, outlet)


def _work(document: DataDocument, outlet: Outlet) -> Outcome:
    began = time.perf_counter()
    _check(document, outlet)
    parameters = with_environment(document.parameters, document.environment)
    _report_line(outlet, f"`{document.operation}` begins.")
    spec = read_operation(document.operation, parameters)
    meter = Meter(lambda *how_far: _report_progress(document, outlet, *how_far))
    try:
        with (
            going_outside(),  # a data set of the hub's may lie behind a proxy
            outlet.activities.doing(ActivityKind.PREPARING, Unit.ROWS, measure=lambda: meter.done),
        ):
            outputs = run(spec, Path(document.rows_dir), meter, document.task_id)
        made = [_kept(document, outlet, name, output) for name, output in outputs.items()]
    except OSError as error:  # what an operation reads and writes is the storage
        raise StorageFailed(str(error)) from error
    for one in made:
        outlet.emit(one)
    rows = sum(one.rows for one in made)
    outlet.emit(Progress(step=rows, total_steps=rows, seconds_left=0))
    words = ", ".join(
        f"{one.output}: {one.rows} rows" if len(made) > 1 else f"{one.rows} rows" for one in made
    )
    return Outcome.because(Reason.COMPLETED, f"{words} in {time.perf_counter() - began:.1f} s.")


def _check(document: DataDocument, outlet: Outlet) -> None:
    if outlet.superseded:
        raise Superseded
    if outlet.desired is Desired.STOP or is_stop_requested(document):
        raise Stopped("Stopped on request; nothing is left of its rows.")


def _report_progress(
    document: DataDocument, outlet: Outlet, done: int, total: int, left: float | None
) -> None:
    _check(document, outlet)
    outlet.emit(Progress(step=done, total_steps=total, seconds_left=left))


def _kept(document: DataDocument, outlet: Outlet, name: str, output: DataOutput) -> DatasetMade:
    """A file where it stays: in its own folder, or in the storage under its content."""
    path = Path(output.path)
    kind = recognise(path)
    file_name, place = path.name, output.path
    if document.store_uri is not None:
        part = "" if name == "data" else f"-{name}"
        file_name = f"{document.file_name}{part}.jsonl"
        folder = path.with_name(f"{name}.kept")
        folder.mkdir()
        path.rename(folder / file_name)
        below = place_of(output.sha256, file_name)
        storage = open_storage(document.store_uri)
        if file_name not in storage.list(below):
            with outlet.activities.doing(ActivityKind.UPLOADING, total=output.bytes) as doing:
                storage.put_folder(folder, below, doing.advance)
        root = local_path(document.store_uri)
        place = str(root / below / file_name) if root else f"{document.store_uri}/{below}/{file_name}"
    return DatasetMade(
        output=name,
        path=place,
        file_name=file_name,
        rows=output.rows,
        bytes=output.bytes,
        sha256=output.sha256,
        columns=output.columns,
        rows_hold=kind.kind,
        parts=output.parts,
    )


def _report_line(outlet: Outlet, message: str) -> None:
    outlet.emit(LogLine(source="driver", message=message))


def with_environment(parameters: dict[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    """Parameters with `${env.NAME}` replaced; a variable that is not set counts as not given.

    Raises:
        InvalidInput: One is named that may not be read.
    """
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        wanted = [variable.path[0] for variable in variables_in(value) if variable.source == "env"]
        for variable in wanted:
            if variable not in allowed:
                raise InvalidInput(f"`${{env.{variable}}}` may not be read here.", field=name)
        read = named if name == "token" else os.environ.get  # else it is no secret, and is told of
        values = {variable: read(variable) or None for variable in wanted}
        resolved = resolve(value, {"env": values}) if wanted else value
        if resolved is not None and not (wanted and resolved == ""):
            found[name] = resolved
    return found

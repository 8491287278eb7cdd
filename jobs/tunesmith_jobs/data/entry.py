"""A job that works on data: `python -m tunesmith_jobs.data.entry <uri of its document>`.

Reads the document, carries the operation out, brings its rows where they stay, and reports as any attempt does: lines,
how far it is, each file that it made, the last word. Secrets are read from this process's environment, as far as the
document allows their names. Needs no Ray and no torch.
"""

import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.activity import ActivityKind, Unit
from tunesmith.data_step import DataDocument, DataOutput, place_of
from tunesmith.errors import InvalidData, InvalidInput, NotOurs, TunesmithError
from tunesmith.events import DatasetMade, Finished, LogLine, Progress
from tunesmith.lifecycle import REASONS, Desired, Reason
from tunesmith.proxies import going_outside
from tunesmith.removal import discard
from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.detect_format import recognise
from tunesmith.spec.dataset import read_operation
from tunesmith.spec.variables import resolve, variables_in
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.data.meter import Meter
from tunesmith_jobs.data.operations import run
from tunesmith_jobs.document import is_stop_requested, read_bytes, request_stop
from tunesmith_jobs.report import Outlet, Reporter

LAST_WORD_SECONDS = 15 * 60.0
_FIRST_REPLY_SECONDS = 3.0
_log = logging.getLogger("tunesmith_jobs.data.entry")


class _Stopped(Exception):
    """The task is to stop, or this attempt is over."""


def main(uri: str) -> int:
    """Run one attempt; returns the exit code."""
    document = DataDocument.model_validate_json(read_bytes(uri))
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: request_stop(document))
    with Reporter(document) as reporter:
        reporter.wait_heard(_FIRST_REPLY_SECONDS)
        if reporter.superseded:
            return 1
        finished = work(document, reporter)
        if reporter.superseded:
            return 1
        reporter.emit(finished)
        arrived = reporter.drain(LAST_WORD_SECONDS)
    if arrived:
        discard(Path(document.work_dir), document.task_id)
    return 0 if arrived else 1


def work(document: DataDocument, outlet: Outlet) -> Finished:
    """Carry the operation out; returns the last word. What it made is reported on the way."""
    began = time.perf_counter()
    try:
        _check(document, outlet)
        parameters = with_environment(document.parameters, document.environment)
        _say(outlet, f"`{document.operation}` begins.")
        spec = read_operation(document.operation, parameters)
        meter = Meter(lambda *how_far: _tell(document, outlet, *how_far))
        with (
            going_outside(),  # a data set of the hub's may lie behind a proxy
            outlet.activities.doing(ActivityKind.PREPARING, Unit.ROWS, measure=lambda: meter.done),
        ):
            outputs = run(spec, Path(document.rows_dir), meter, document.task_id)
        made = [_kept(document, outlet, name, output) for name, output in outputs.items()]
    except _Stopped:
        return _ended(Reason.STOPPED_BY_USER, "Stopped on request; nothing is left of its rows.")
    except InvalidData as error:
        return _ended(Reason.BAD_DATA, _words(error))
    except (InvalidInput, NotOurs) as error:
        return _ended(Reason.BAD_PARAMETERS, _words(error))
    except RowProblem as problem:
        return _ended(Reason.BAD_DATA, f"{problem.message} {problem.hint or ''}".strip())
    except MemoryError:
        return _ended(Reason.OUT_OF_MEMORY, "It ran out of memory.")
    except (TunesmithError, OSError) as error:
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _ended(Reason.DISK_FULL if is_full else Reason.STORAGE, str(error)[-1000:])
    except Exception as error:
        _log.exception("the operation failed")
        return _ended(Reason.USER_CODE, f"{type(error).__name__}: {str(error)[-1000:]}")
    for one in made:
        outlet.emit(one)
    rows = sum(one.rows for one in made)
    outlet.emit(Progress(step=rows, total_steps=rows, seconds_left=0))
    words = ", ".join(
        f"{one.output}: {one.rows} rows" if len(made) > 1 else f"{one.rows} rows" for one in made
    )
    return _ended(Reason.COMPLETED, f"{words} in {time.perf_counter() - began:.1f} s.")


def _check(document: DataDocument, outlet: Outlet) -> None:
    if outlet.desired is Desired.STOP or outlet.superseded or is_stop_requested(document):
        raise _Stopped


def _tell(document: DataDocument, outlet: Outlet, done: int, total: int, left: float | None) -> None:
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
    )


def _say(outlet: Outlet, message: str) -> None:
    outlet.emit(LogLine(source="driver", message=message))


def _ended(reason: Reason, message: str) -> Finished:
    return Finished(outcome=REASONS[reason].end, reason=reason, message=message)


def _words(error: TunesmithError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


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
        values = {variable: os.environ.get(variable) for variable in wanted}
        resolved = resolve(value, {"env": values}) if wanted else value
        if resolved is not None and not (wanted and resolved == ""):
            found[name] = resolved
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(main(sys.argv[1]))

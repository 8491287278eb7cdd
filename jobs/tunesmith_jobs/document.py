"""What an attempt's processes read and leave on the node: the document, the outcome, a request to stop, the restarts.

Knows files; knows nothing of training.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from tunesmith.errors import NotFound
from tunesmith.job import AttemptDocument, JobDocument
from tunesmith.lifecycle import State
from tunesmith.outcome import Outcome
from tunesmith.plain_text import as_json
from tunesmith.removal import discard_file, part_of
from tunesmith.secret_values import hide_in_json, known_secrets
from tunesmith.storage import open_storage


def read_document(uri: str) -> JobDocument:
    """The document at a URI.

    Raises:
        NotFound: There is none.
    """
    return JobDocument.model_validate_json(read_bytes(uri))


def read_bytes(uri: str) -> bytes:
    """The bytes of any job's document.

    Raises:
        NotFound: There is none.
    """
    folder, _, name = uri.rpartition("/")
    data = open_storage(folder or ".").read(name)
    if data is None:
        raise NotFound(f"No job document lies at `{uri}`.")
    return data


def _outcome_file(document: AttemptDocument) -> Path:
    return Path(document.work_dir) / f"outcome-{document.attempt}.json"


def write_outcome(document: AttemptDocument, outcome: Outcome) -> None:
    """Leave the outcome for the driver, whole or not at all; a failure only where no outcome is left yet.

    The first worker alone ends in order, and that counts whatever befalls the others on their way out. Of several
    failures the first is the cause: the others only lost their peer.
    """
    file = _outcome_file(document)
    part = part_of(file)
    part.write_bytes(hide_in_json(as_json(outcome), known_secrets()))
    if outcome.outcome is not State.FAILED:
        part.replace(file)
        return
    try:
        os.link(part, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not file.exists():
            part.replace(file)
    discard_file(part)


def read_outcome(document: AttemptDocument) -> Outcome | None:
    """The outcome that a worker left; None while there is none."""
    try:
        return Outcome.model_validate_json(_outcome_file(document).read_bytes())
    except (OSError, ValidationError):
        return None


def has_outcome(document: AttemptDocument) -> bool:
    """Whether a worker left an outcome."""
    return _outcome_file(document).exists()


def request_stop(document: AttemptDocument) -> None:
    """Ask an attempt's first worker to save and stop; a signal's handler may do that."""
    file = _stop_request_file(document)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def is_stop_requested(document: AttemptDocument) -> bool:
    """Whether the attempt's driver was asked to stop, and passed it on."""
    return _stop_request_file(document).exists()


def _stop_request_file(document: AttemptDocument) -> Path:
    return Path(document.work_dir) / f"sigterm-{document.attempt}"


def count_restart(document: AttemptDocument) -> int:
    """How often this attempt's first worker was started before, this start not counted."""
    file = Path(document.work_dir) / f"starts-{document.attempt}"
    try:
        before = int(file.read_text())
    except (OSError, ValueError):
        before = 0
    file.write_text(str(before + 1))
    return before

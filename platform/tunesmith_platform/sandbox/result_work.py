"""What the workers do with an evaluation's result: read it, and compute its figures, its report or a table of it.

Of 10 000 samples and 8 checkpoints a result has 70 MB, and takes seconds of a processor and a gigabyte: in the API
every other answer would wait. Imported by workers alone, through `work`; `results` is their typed side in the API.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput, Unavailable
from tunesmith.evaluation.recomputing import recompute
from tunesmith.evaluation.report import answers_csv, candidates_csv, html
from tunesmith.evaluation.results import EvaluationResult
from tunesmith.evaluation.scores import check_weights

Argument = Mapping[str, Any]


def evaluation_result(given: Argument) -> bytes:
    """The whole result, with what was not in it yet when it was written."""
    return _read(given).model_dump_json().encode()


def evaluation_recomputed(given: Argument) -> bytes:
    """The result with other weights, or of another score."""
    result, score = _read(given), given["score"]
    known = {name for one in result.candidates for name in one.means}
    if score not in known:
        raise InvalidInput(
            f"No score `{score}` was measured.",
            hint=f"Measured: {', '.join(sorted(known))}.",
            field="score",
        )
    weights = check_weights(given["weights"]) if given["weights"] else None
    order = [one.candidate.key for one in result.candidates]
    return recompute(result, weights=weights, score=score, order=order).model_dump_json().encode()


def evaluation_report(given: Argument) -> bytes:
    """The report as HTML."""
    return html(_read(given), given["language"]).encode()


def evaluation_table(given: Argument) -> bytes:
    """A table as CSV."""
    result = _read(given)
    return "".join(answers_csv(result) if given["which"] == "answers" else candidates_csv(result)).encode()


def _read(given: Argument) -> EvaluationResult:
    """The result in a file.

    Raises:
        Unavailable: It is gone, or not what was stored.
    """
    try:
        data = Path(given["file"]).read_bytes()
    except FileNotFoundError:
        data = None
    if data is None or hashlib.sha256(data).hexdigest() != given["sha256"]:
        what = "gone" if data is None else "not what was stored"
        raise Unavailable(
            f"The result of task `{given['task_id']}` in the storage is {what}.",
            hint="Evaluate again: what was answered is known, and costs no generation.",
        )
    return EvaluationResult.model_validate_json(data)


TABLE: dict[str, Callable[[Argument], bytes]] = {
    function.__name__: function
    for function in (evaluation_result, evaluation_recomputed, evaluation_report, evaluation_table)
}

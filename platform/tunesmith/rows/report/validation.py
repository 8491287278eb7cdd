"""A data file's report: every bad row with place and reason, what the good ones hold, and what of them is trained.

One pass over the file with bounded memory, and a second one over some rows where a model is named. Knows files, shapes
and encoders; knows nothing of tasks.
"""

from pathlib import Path

from tunesmith.dataset_views import DataReport, Verdict
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.report.file_reader import Clock, FileReader
from tunesmith.rows.tokens.library_ids import findings_of
from tunesmith.rows.tokens.token_counts import Tokens
from tunesmith.spec.training import TrainSpec


def validate(
    path: str | Path,
    spec: TrainSpec,
    *,
    evaluation: str | Path | None = None,
    model: str | Path | None = None,
    tokenizer: str | Path | None = None,
    allowed_bad_percent: float = 0.0,
    max_seconds: float | None = None,
) -> DataReport:
    """Read a file, and say all there is to say of it.

    Args:
        path: The file.
        spec: The parameters that decide how rows are read and encoded.
        evaluation: A file of held-out rows: it gets a report too, and what both files hold is counted.
        model: A model's folder; without one, no token is counted.
        tokenizer: Another folder whose tokenizer is used instead of the model's.
        allowed_bad_percent: Share of the rows that may be bad.
        max_seconds: Stop reading after so long; the report says that it is not complete.

    Raises:
        InvalidData: A file as a whole is of no use.
        InvalidModel: The tokenizer or the chat template is missing or broken.
        InvalidInput: The chosen chat template does not fit.
    """
    clock = Clock(max_seconds)
    held_out = FileReader(evaluation, spec, clock, keeps_questions=True) if evaluation is not None else None
    if held_out is not None:
        held_out.read()
    reader = FileReader(path, spec, clock, against=held_out)
    reader.read()
    report = reader.report(allowed_bad_percent)
    if held_out is not None:
        report.evaluation = held_out.report(allowed_bad_percent)
        report.overlap = reader.overlap()
    if model is not None:
        encoder = encoder_of(spec, reader.shape, model, tokenizer)
        report.tokens = Tokens(reader, encoder, spec.max_length, report).report()
    by_file = [] if model is None else findings_of(model, tokenizer)
    report.findings = [*by_file, *reader.findings(spec.max_length)]
    _conclude(report)
    report.notes += [one.message for one in report.findings]
    return report


def _conclude(report: DataReport) -> None:
    """The verdict, and what follows from the numbers."""
    for part in (report, report.evaluation):
        if part is None:
            continue
        share = 100 * part.bad_rows / max(1, part.rows)
        if part.bad_rows:
            allowed = share <= part.allowed_bad_percent and part.bad_rows < part.rows
            part.verdict = Verdict.SKIPS if allowed else Verdict.REFUSED
        if not part.is_complete:
            part.notes.append(
                "Time ran out: only the first rows were read. On the file's machine, it has no end."
            )
    if report.evaluation is not None and report.evaluation.verdict is Verdict.REFUSED:
        report.verdict = Verdict.REFUSED
    tokens = report.tokens
    if tokens is not None and tokens.rows and tokens.unsupervised_rows == tokens.rows:
        report.verdict = Verdict.REFUSED
        report.notes.append(
            f"Nothing is left to train on within {tokens.max_length} tokens: raise `max_length`."
        )
    if report.overlap is not None and report.overlap.rows + report.overlap.questions:
        report.notes.append(
            "The evaluation file holds rows of the training file: its loss will look too good."
        )

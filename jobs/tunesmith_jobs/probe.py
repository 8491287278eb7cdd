"""Measures a run before it starts: `python -m tunesmith_jobs.probe <uri of its document>`.

The very training runs twice in one fresh process, each time over a few rows and in a scratch folder: two optimizer
steps on the longest rows there are, then some on rows drawn at random. The first gives the memory, the second the time.
What is saved at the end counts as in a real run, and is removed. Leaves a `ProbeResult` beside the document, and ends
itself at its limit. Imports Ray as a job's driver; `measure` alone needs none.
"""

import datetime as dt
import heapq
import json
import logging
import math
import os
import random
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from tunesmith.errors import TunesmithError
from tunesmith.events import CheckpointSaved, JobPayload, Metrics, TrainingStarted
from tunesmith.lifecycle import Desired, State
from tunesmith.probe import RESULT, ProbeDocument, ProbeResult
from tunesmith.removal import claim, discard, remove_own
from tunesmith.row_problem import RowProblem
from tunesmith.rows.bad_rows import BadRows
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.decoding import Row
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.shapes import shape_of
from tunesmith.rows.tokens.encode_rows import encode_rows
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import open_storage
from tunesmith_jobs.activities import Activities
from tunesmith_jobs.document import read_bytes
from tunesmith_jobs.logs import log_to_output
from tunesmith_jobs.train.core import train
from tunesmith_jobs.train.job import Identity, Paths

_LONGEST_STEPS = 2
_TYPICAL_STEPS = 5
_MOST_BATCHES = 8
"""Batches a step that are really taken; a step with more takes that many times longer."""
_TYPICAL_SECONDS = 60.0
"""After so long no further typical step is begun, once two were timed."""
_CANDIDATES = 256
_SEED = 20_261_121
_log = logging.getLogger("tunesmith_jobs.probe")


class _Chosen(NamedTuple):
    """Rows to measure with."""

    longest: list[Row]
    typical: list[Row]
    longest_tokens: int


class Clock:
    """The outlet of a measured run: notes when each step was reported, and ends a run that takes too long."""

    superseded = False
    save_now = 0
    pinned: frozenset[int] | None = None
    early_stop: str | None = None
    listed: frozenset[int] | None = None

    def __init__(self, seconds: float = math.inf) -> None:
        self.desired = Desired.RUN
        self.activities = Activities()
        self.marks: list[float] = []
        self.started_at = 0.0
        self.checkpoint_bytes = 0
        self.facts: dict[str, Any] = {}
        self._seconds = seconds

    def emit(self, payload: JobPayload, time: dt.datetime | None = None) -> None:
        """Take note of it."""
        now = perf_counter()
        if isinstance(payload, TrainingStarted):
            self.started_at, self.facts = now, payload.facts
            self.marks = [now]
        elif isinstance(payload, Metrics) and "loss" in payload.values:
            self.marks.append(now)
            if len(self.steps) > _LONGEST_STEPS and now - self.started_at > self._seconds:
                self.desired = Desired.STOP
        elif isinstance(payload, CheckpointSaved):
            self.checkpoint_bytes = payload.bytes

    @property
    def steps(self) -> list[float]:
        """Seconds of each step."""
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]


def measure(document: ProbeDocument) -> ProbeResult:
    """Measure in this process, which should be fresh: its peak of memory is what is reported.

    Args:
        document: What to measure.
    """
    began = perf_counter()
    spec = TrainSpec.stored(document.spec)
    scratch = Path(document.work_dir)
    remove_own(scratch, document.id)
    claim(scratch, document.id)
    try:
        try:
            rows = _choose(spec, document)
        except TunesmithError as error:
            return ProbeResult(error=error.message)
        reduced = _reduced(spec)
        batches = reduced.gradient_accumulation_steps
        longest, typical = Clock(), Clock(_TYPICAL_SECONDS)
        for clock, some, steps in (
            (longest, rows.longest, _LONGEST_STEPS),
            (typical, rows.typical, _TYPICAL_STEPS),
        ):
            error = _train(reduced.model_copy(update={"max_steps": steps}), some, clock, document)
            if error:
                return ProbeResult(error=error)
            if clock is longest:
                start = clock.started_at - began
        share = spec.gradient_accumulation_steps / batches
        timed = sorted(typical.steps[1:] or typical.steps)
        return ProbeResult(
            peak_bytes=peak_bytes(),
            seconds_per_step=sum(timed) / len(timed) * share,
            longest_step_seconds=longest.steps[-1] * share,
            start_seconds=start,
            longest_batch_tokens=rows.longest_tokens * spec.per_device_train_batch_size,
            checkpoint_bytes=longest.checkpoint_bytes,
            steps=len(longest.steps) + len(typical.steps),
            device=str(longest.facts.get("device", "")),
            precision=str(longest.facts.get("precision", "")),
        )
    finally:
        discard(scratch, document.id)


def peak_bytes() -> int:
    """The most memory that this process has held: of the GPU where it used one, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_reserved() > 0:
        free, total = torch.cuda.mem_get_info()
        context = max(0, total - free - torch.cuda.memory_reserved())
        return int(torch.cuda.max_memory_reserved() + context)
    try:
        # Of this program alone: `ru_maxrss` also remembers the process that it was forked from.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _train(spec: TrainSpec, rows: list[Row], clock: Clock, document: ProbeDocument) -> str:
    """Train on some rows; returns what went wrong, or nothing."""
    scratch = Path(document.work_dir)
    file = scratch / "rows.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    paths = Paths(
        model=Path(document.model_path),
        train=file,
        eval=None,
        artifact_uri=str(scratch / "artifacts"),
        scratch=scratch / "scratch",
        tokenizer=Path(document.tokenizer_path) if document.tokenizer_path else None,
    )
    outcome = train(spec, paths, clock, Identity(document.id))
    for folder in ("artifacts", "scratch"):
        discard(scratch / folder, document.id)
    if outcome.outcome in (State.COMPLETED, State.STOPPED) and clock.steps:
        return ""
    return f"{outcome.reason}: {outcome.message}"


def _reduced(spec: TrainSpec) -> TrainSpec:
    """The same training without what takes no part in a step, and with no more batches a step than needed."""
    changed: dict[str, Any] = {
        "max_samples": 0,
        "eval_file": None,
        "eval_strategy": "no",
        "eval_sampling_ratio": 0.0,
        "early_stopping_patience": 0,
        "evaluate_checkpoints": False,
        "metric_for_best_model": "eval_loss",
        "output_dir": None,
        "resume_from_checkpoint": None,
        "merge_lora_after_training": False,
        "report_to": ["none"],
        "save_strategy": "no",
        "save_interval_minutes": 0,
        "logging_steps": 1,
        "num_workers": 1,
        "num_train_epochs": 1,
        "warmup_steps": 0,
        "warmup_ratio": 0.0,
        # Schedules cost nothing; some want steps or evaluations that there are not here.
        "lr_scheduler_type": "constant",
        "gradient_accumulation_steps": min(spec.gradient_accumulation_steps, _MOST_BATCHES),
    }
    return TrainSpec.stored(spec.model_dump(mode="json") | changed)


def _good_rows(path: str, spec: TrainSpec) -> Iterator[Row]:
    """A file's rows, without those that the task leaves out."""
    file = RowFile(path)
    bad = BadRows(file.place, spec.allowed_bad_percent)
    shape = shape_of(file, spec)
    for number, row in file.scan():
        try:
            if isinstance(row, RowProblem):
                raise row
            if spec.allowed_bad_percent:
                shape.read(row)
        except RowProblem as problem:
            bad.note(number, problem)
        else:
            yield row


def _choose(spec: TrainSpec, document: ProbeDocument) -> _Chosen:
    """The longest rows by their tokens, and some drawn at random.

    Which are worth encoding is told by their characters: a file of a million rows is read once, not encoded.
    """
    batches = min(spec.gradient_accumulation_steps, _MOST_BATCHES)
    size = spec.per_device_train_batch_size
    wanted = size * batches
    drawn = wanted * _TYPICAL_STEPS
    draw = random.Random(_SEED)  # noqa: S311  (no secret is drawn)
    sample: list[Row] = []
    heap: list[tuple[int, int, Row]] = []
    keep = max(_CANDIDATES, 2 * wanted)
    for count, row in enumerate(_good_rows(document.train_path, spec)):
        if count < drawn:
            sample.append(row)
        elif (place := draw.randint(0, count)) < drawn:
            sample[place] = row
        entry = (len(json.dumps(row, ensure_ascii=False)), -count, row)
        if len(heap) < keep:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)
    file = RowFile(document.train_path)
    shape = shape_of(file, spec)
    encoder = encoder_of(
        spec,
        shape,
        document.model_path,
        Path(document.tokenizer_path) if document.tokenizer_path else None,
    )
    candidates = [row for _, _, row in sorted(heap, key=lambda entry: entry[:2], reverse=True)]
    numbered: Iterable[tuple[int, Row]] = enumerate(candidates)
    lengths = {
        number: min(len(encoded.input_ids), spec.max_length)
        for number, encoded in encode_rows(
            numbered, encoder, file, shape, BadRows(file.place, spec.allowed_bad_percent)
        )
        if encoded.label is not None or encoded.has_label
    }
    order = sorted(lengths, key=lambda number: -lengths[number])
    if not order:
        raise TunesmithError("No row has anything to train on within `max_length`.")
    is_joined = spec.training_type == "pretrain" or spec.packing
    longest = [candidates[number] for number in (order if is_joined else order[: wanted * _LONGEST_STEPS])]
    tokens = spec.max_length if is_joined else lengths[order[0]]
    if is_joined:
        # Rows that are joined to full sequences: enough of them for every step, the same ones again where need be.
        mean = sum(lengths.values()) / len(lengths)
        need = math.ceil(drawn * spec.max_length / max(1.0, mean))
        sample = (sample + candidates) * math.ceil(need / max(1, len(sample) + len(candidates)))
        longest = longest * math.ceil(need / len(longest))
        sample, longest = sample[:need], longest[:need]
    if spec.training_type == "classification":
        # Every class that was seen is in both, so that the head is the same.
        classes = {shape.read(row).label: row for row in sample + candidates}  # type: ignore[union-attr]
        longest, sample = [*longest, *classes.values()], [*sample, *classes.values()]
    return _Chosen(longest, sample, tokens)


# --- as a job on Ray


def main(uri: str) -> int:
    """Measure as the document says; returns the exit code."""
    document = ProbeDocument.model_validate_json(read_bytes(uri))
    # Ray ends the worker of a driver that is gone.
    guard = threading.Timer(document.limit_seconds, os._exit, [1])
    guard.daemon = True
    guard.start()
    try:
        result = _measure_on_ray(document)
    except Exception as error:
        _log.exception("nothing was measured")
        result = ProbeResult(error=_words(error))
    open_storage(uri.rpartition("/")[0]).write(RESULT, result.model_dump_json().encode())
    discard(Path(document.work_dir), document.id)
    return 1 if result.error else 0


def _measure_on_ray(document: ProbeDocument) -> ProbeResult:
    import ray

    from tunesmith_jobs.cluster import resources_of
    from tunesmith_jobs.train.program import needs_of

    ray.init(log_to_driver=True)
    spec = TrainSpec.stored(document.spec)
    use_gpu = ray.cluster_resources().get("GPU", 0) >= 1 and spec.device != "cpu"
    needs = resources_of(needs_of(spec), use_gpu, ray.nodes())
    others = {name: count for name, count in needs.items() if name not in ("CPU", "GPU")}
    task = ray.remote(
        num_cpus=needs.get("CPU", 1.0),
        num_gpus=needs.get("GPU", 0.0),
        resources=others or None,
        max_retries=0,
        max_calls=1,
    )(_measure_remotely)
    answer = ray.get(task.remote(document.model_dump_json()), timeout=document.limit_seconds - 10)
    return ProbeResult.model_validate_json(answer)


def _measure_remotely(document: str) -> str:
    # What a training worker has loaded besides: its memory counts.
    import ray.train  # noqa: F401

    return measure(ProbeDocument.model_validate_json(document)).model_dump_json()


def _words(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if "OutOfMemory" in type(error).__name__ or "running low on memory" in text:
        return "It ran out of memory: this setting does not fit."
    if type(error).__name__ == "GetTimeoutError":
        return "It did not end in time: the cluster has no room for it now, or a step takes minutes."
    return text[-1000:]


if __name__ == "__main__":
    log_to_output()
    code = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)

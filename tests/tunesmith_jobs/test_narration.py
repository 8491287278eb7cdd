"""What a run reports is told in its log too: in `tunesmith logs`, in the order in which it happened."""

import pytest
from kept_outlet import KeptOutlet

from tunesmith.events import (
    CheckpointRemoved,
    CheckpointSaved,
    Finished,
    JobPayload,
    Metrics,
    Phase,
    PhaseDone,
    Progress,
    TrainingStarted,
    Warned,
)
from tunesmith.lifecycle import Reason, State
from tunesmith_jobs.logs import captured
from tunesmith_jobs.train.telemetry.narration import Narrated


def _told(
    *payloads: JobPayload, level: str = "info", now: list[float] | None = None
) -> list[tuple[str, str]]:
    kept = KeptOutlet()
    clock = iter(now or [0.0] * len(payloads))
    with captured(kept, level, "worker-0"):
        outlet = Narrated(kept, now=lambda: next(clock))
        for payload in payloads:
            outlet.emit(payload)
    assert [one for one in kept.said if one.kind != "log"] == list(payloads)  # passed on as they were
    return [(line.level, line.message) for line in kept.lines]


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (PhaseDone(phase=Phase.DATA, seconds=2.04), "Rows read in 2.0 s."),
        (
            TrainingStarted(step=0, total_steps=120),
            "Training begins: 120 steps.",
        ),
        (
            TrainingStarted(step=40, total_steps=120, resumed_from="checkpoint-40", restart=2),
            "Training goes on after step 40 of 120 steps, from checkpoint-40. Its workers were started again (2).",
        ),
        (
            Metrics(step=40, values={"eval_loss": 1.6441, "eval_accuracy": 0.5}),
            "Evaluated after step 40: eval_accuracy 0.5, eval_loss 1.644.",
        ),
        (
            CheckpointSaved(step=40, uri="u", bytes=3 * 2**20, files=9, manifest_sha256="0", best=True),
            "checkpoint-40 saved: 3.0 MiB, the best so far.",
        ),
        (CheckpointRemoved(step=20), "checkpoint-20 removed, to keep within `save_total_limit`."),
    ],
)
def test_what_happens_has_its_line(payload: JobPayload, line: str) -> None:
    assert _told(payload) == [("info", line)]


def test_what_was_picked_is_told_with_its_reason_and_nothing_is_left_out() -> None:
    facts = {
        "device": "cpu",
        "precision": "bf16",
        "precision_why": "the processor multiplies it.",
        "rows": 12345,
        "tokens": 999,
        "lora_targets": ["k_proj", "q_proj"],
        "tf32": False,
        "quantization": None,
        "something_new": "of tomorrow",
    }
    lines = [line for _, line in _told(TrainingStarted(step=0, total_steps=1, facts=facts))]
    assert lines == [
        "Machine: device cpu; precision bf16 (the processor multiplies it); tf32 no.",
        "Data: rows 12 345; tokens 999.",
        "Model: lora targets k_proj, q_proj.",
        "Also: something new of tomorrow.",
        "Training begins: 1 step.",
    ]


def test_the_loss_is_told_at_the_start_then_now_and_then_and_at_the_end() -> None:
    def step(number: int) -> Metrics:
        return Metrics(step=number, values={"loss": 1.0 / number, "learning_rate": 1e-4})

    lines = [
        line
        for _, line in _told(
            Progress(step=0, total_steps=4, seconds_left=90.4),
            step(1), step(2), step(3), step(4),
            now=[0.0, 10.0, 31.0, 32.0],
        )
    ]  # fmt: skip
    assert lines == [
        "Step 1 of 4: loss 1, learning rate 0.0001; about 0:01:30 left.",
        "Step 3 of 4: loss 0.3333, learning rate 0.0001; about 0:01:30 left.",
        "Step 4 of 4: loss 0.25, learning rate 0.0001.",
    ]


def test_log_level_decides_about_these_lines_as_about_others() -> None:
    payloads = (
        PhaseDone(phase=Phase.DATA, seconds=1),
        Warned(code="x", message="Rows were cut.", hint="Look."),
    )
    assert _told(*payloads) == [("info", "Rows read in 1.0 s."), ("warning", "Rows were cut. Look.")]
    assert _told(*payloads, level="warning") == [("warning", "Rows were cut. Look.")]


def test_the_last_word_is_the_outcomes() -> None:
    assert _told(Finished(outcome=State.COMPLETED, reason=Reason.COMPLETED)) == []

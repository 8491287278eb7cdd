"""The learning rate of each scheduler against its closed form, and across a stop."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import training_run as tr

from tunesmith.lifecycle import Reason, State

STEPS, WARM, TOP = 20, 4, 1e-3
pytestmark = pytest.mark.usefixtures("one_thread")


def after_warmup(course: Callable[[float], float]) -> Callable[[int], float]:
    """A rate that rises in a line for `WARM` steps and then follows `course` of the share of the rest."""

    def rate(done: int) -> float:
        return TOP * (done / WARM if done < WARM else course((done - WARM) / (STEPS - WARM)))

    return rate


def half_cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


def stable_decay(done: int) -> float:
    """Warm up from the floor, hold, and fall by a half cosine over the last 6 steps."""
    floor = 0.1
    if done < WARM:
        return TOP * (floor + (1 - floor) * done / WARM)
    share = max(0, done - (STEPS - 6)) / 6
    return TOP * (floor + (1 - floor) * half_cosine(share))


COURSES: dict[str, tuple[dict[str, Any], Callable[[int], float]]] = {
    "linear": ({}, after_warmup(lambda share: 1 - share)),
    "cosine": ({}, after_warmup(half_cosine)),
    "cosine_with_restarts": ({"num_cycles": 2}, after_warmup(lambda share: half_cosine(2 * share % 1))),
    "cosine_with_min_lr": ({"min_lr": 1e-4}, after_warmup(lambda share: 0.1 + 0.9 * half_cosine(share))),
    "polynomial": ({}, after_warmup(lambda share: (1 - share) * (1 - 1e-7 / TOP) + 1e-7 / TOP)),
    "constant": ({}, lambda done: TOP),
    "constant_with_warmup": ({}, after_warmup(lambda share: 1.0)),
    "inverse_sqrt": ({}, lambda done: TOP * (done / WARM if done < WARM else math.sqrt(WARM / done))),
    "warmup_stable_decay": ({"num_decay_steps": 6, "min_lr": 1e-4}, stable_decay),
}


@pytest.mark.parametrize("kind", sorted(COURSES))
def test_the_rate_follows_its_closed_form_also_over_a_stop(tmp_path: Path, model: Path, kind: str) -> None:
    more, rate = COURSES[kind]
    given = {
        "lr_scheduler_type": kind, "learning_rate": TOP, "max_steps": STEPS, "warmup_steps": WARM,
        "save_strategy": "no", "gradient_accumulation_steps": 1,
    } | more  # fmt: skip
    assert tr.run(tmp_path, model, stop_at=9, **given).reason is Reason.STOPPED_BY_USER
    assert tr.run(tmp_path, model, attempt=2, **given).outcome is State.COMPLETED
    assert min(tr.losses(tmp_path, 2)) == 10
    rates = tr.losses(tmp_path, 1, 2, name="learning_rate")
    assert rates == pytest.approx({step: rate(step - 1) for step in range(1, STEPS + 1)}, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("more", "warm"), [({"warmup_ratio": 0.25}, 5), ({"warmup_ratio": 0.25, "warmup_steps": 2}, 2)]
)
def test_warmup_steps_win_over_the_ratio(
    tmp_path: Path, model: Path, more: dict[str, Any], warm: int
) -> None:
    given = {"lr_scheduler_type": "constant_with_warmup", "learning_rate": TOP, "max_steps": STEPS} | more
    assert tr.run(tmp_path, model, **given).outcome is State.COMPLETED
    rates = tr.losses(tmp_path, name="learning_rate")
    assert rates == pytest.approx({step: TOP * min(1, (step - 1) / warm) for step in range(1, STEPS + 1)})


def test_the_plateau_scheduler_lowers_the_rate_when_the_evaluation_stands_still(
    tmp_path: Path, model: Path
) -> None:
    given = {
        "lr_scheduler_type": "reduce_lr_on_plateau", "learning_rate": 1e-6, "max_steps": 30, "max_samples": 8,
        "eval_sampling_ratio": 0.25, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "no",
        "gradient_accumulation_steps": 1,
    }  # fmt: skip
    tr.run(tmp_path, model, stop_at=15, **given)
    assert tr.run(tmp_path, model, attempt=2, **given).outcome is State.COMPLETED
    rates = tr.losses(tmp_path, 1, 2, name="learning_rate")
    held_out = tr.losses(tmp_path, 1, 2, name="eval_loss")
    rate, best, bad = 1e-6, math.inf, 0
    for step in range(1, 31):
        assert rates[step] == pytest.approx(rate), step
        bad = 0 if held_out[step] < best * (1 - 1e-4) else bad + 1
        best = held_out[step] if bad == 0 else best
        if bad > 10:
            rate, bad = rate / 10, 0
    assert rates[30] < rates[1]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "eval_strategy"),
        ({"lr_scheduler_type": "cosine_with_min_lr", "min_lr": 0.01, "learning_rate": 1e-4}, "min_lr"),
        ({"lr_scheduler_type": "warmup_stable_decay", "num_decay_steps": 18, "max_steps": 20, "warmup_steps": 4},
         "num_decay_steps"),
        ({"max_steps": 4, "warmup_steps": 100}, "warmup_steps"),
        ({"max_steps": 4, "warmup_steps": 4, "lr_scheduler_type": "linear"}, "warmup_steps"),
        ({"num_train_epochs": 1, "warmup_steps": 100}, "warmup_steps"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_is_refused(more: dict[str, Any], word: str) -> None:
    from tunesmith.errors import InvalidInput
    from tunesmith.spec.training import TrainSpec
    from tunesmith_jobs.models.precision import Choice
    from tunesmith_jobs.train.run.arguments import trainer_arguments

    def attempt() -> None:
        spec = TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t.jsonl"} | more)
        trainer_arguments(spec, Path("/s"), Choice("cpu", "fp32", ""), 100, evaluates=False)

    with pytest.raises(InvalidInput) as caught:
        attempt()
    assert word in f"{caught.value.message} {caught.value.hint}"

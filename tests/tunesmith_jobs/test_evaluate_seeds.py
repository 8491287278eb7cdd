"""One checkpoint under two sampling seeds is one model: forty times, and a winner no oftener than chance allows."""

from pathlib import Path
from typing import Any

import pytest
import training_run as tr
from compared import Asked, Trained

from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.document import CandidateDocument
from tunesmith.evaluation.results import CandidateResult
from tunesmith.lifecycle import State
from tunesmith.spec.training import TrainSpec

TIMES, SAMPLES = 40, 48
MOST_WINNERS = 6
"""Of 40 at a level of 5 % two are expected; more than six come once in a hundred times."""


class Talking(Trained):
    """All weights trained for long enough that answers are like the expected ones, and differ by what is drawn."""

    steps = 150

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.artifacts = str(folder / "artifacts")
        given = {"use_lora": False, "learning_rate": 3e-3, "precision": "fp32"}
        done = tr.run(folder, model, max_steps=self.steps, save_steps=self.steps, **given)
        assert done.outcome is State.COMPLETED
        read = {"model_name_or_path": str(model), "train_file": str(folder / "train.jsonl")} | given
        self.spec = TrainSpec.read(read).model_dump(mode="json")

    def candidate(self, step: int | None, **more: Any) -> CandidateDocument:
        made = super().candidate(None, **more)
        if step is None:
            return made
        own = {"key": "trained", "label": "trained", "step": step, "is_base": False,
               "uri": f"{self.artifacts}/checkpoints/checkpoint-{step}"}  # fmt: skip
        return made.model_copy(update={"candidate": made.candidate.model_copy(update=own)})


@pytest.mark.long
def test_one_checkpoint_under_two_sampling_seeds_seldom_wins_against_itself(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    folder = tmp_path / "trained"
    folder.mkdir()
    trained = Talking(folder, model)
    asked = Asked(tmp_path / "asked", trained, monkeypatch)
    asked.write([(f"what is so very {n}?", f"The answer is the number {n % 10}.") for n in range(SAMPLES)])

    def drawn(seed: int, step: int | None = trained.steps, attempt: int | None = None) -> CandidateResult:
        outcome = asked.run(
            [trained.candidate(step)], attempt=attempt or seed + 1, temperature=1.0, seed=seed, max_new_tokens=12,
            max_samples=SAMPLES,
        )  # fmt: skip
        assert outcome.outcome is State.COMPLETED
        (found,) = asked.result.candidates
        return found.model_copy(
            update={"candidate": found.candidate.model_copy(update={"key": f"seed-{seed}"})}
        )

    winners, differing, chances = 0, 0, []
    for number in range(TIMES):
        pair = [drawn(2 * number), drawn(2 * number + 1)]
        split = [answer.sample_id for answer in pair[0].answers]
        comparison = compare(pair, split=split, seed=number)
        (found,) = comparison.pairs
        winners += found.verdict in ("better", "worse")
        differing += found.verdict != "equal"
        chances.append(round(found.p_value, 3))
    record_property("winners", winners)
    record_property("p_values", sorted(chances))
    assert differing == TIMES, "what is drawn differs"
    assert winners <= MOST_WINNERS, f"{winners} of {TIMES}"
    # What is a difference is found by as many samples.
    base = drawn(1, None, 2 * TIMES + 1)
    other = compare([base.model_copy(update={"candidate": base.candidate.model_copy(update={"key": "base"})}), pair[0]],
                    split=split, seed=1)  # fmt: skip
    assert other.pairs[0].verdict == "better"

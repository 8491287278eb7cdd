"""A run whose user lets it go on for longer than it was planned: the same task, a further attempt, more steps."""

from pathlib import Path

import pytest
from training_run import losses, run

SAME = {"lr_scheduler_type": "constant", "warmup_ratio": 0.0}


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Path:
    return tiny_model


@pytest.mark.slow
def test_more_steps_after_the_end_are_those_of_a_longer_run(tmp_path: Path, model: Path) -> None:
    """Where the schedule does not depend on the number of steps, nothing tells that there was an end between."""
    longer, continued = tmp_path / "longer", tmp_path / "continued"
    for folder in (longer, continued):
        folder.mkdir()
    assert run(longer, model, max_steps=10, **SAME).message == "Trained 10 steps."
    assert run(continued, model, max_steps=6, **SAME).message == "Trained 6 steps."
    assert run(continued, model, attempt=2, max_steps=10, **SAME).message == "Trained 10 steps."
    assert sorted(losses(continued, 2)) == [7, 8, 9, 10], "it resumed, it did not begin again"
    assert losses(continued, 1, 2) == losses(longer)


def test_the_first_step_of_a_continued_run_moves_the_weights(tmp_path: Path, model: Path) -> None:
    """A schedule that ended at zero is stretched to the new number of steps before the first of them."""
    from safetensors.torch import load_file

    more = {"lr_scheduler_type": "linear", "warmup_ratio": 0.0, "save_steps": 1, "weight_decay": 0.0}
    run(tmp_path, model, max_steps=3, **more)
    run(tmp_path, model, attempt=2, max_steps=6, **more)
    saved = [
        load_file(tmp_path / "artifacts" / "checkpoints" / f"checkpoint-{step}" / "adapter_model.safetensors")
        for step in (3, 4)
    ]
    moved = [float((saved[1][name] - saved[0][name]).abs().max()) for name in saved[0]]
    # The fourth of six steps of a linear schedule from 1e-2: half of it, which Adam moves a weight by at the most.
    assert max(moved) == pytest.approx(5e-3, rel=0.5)

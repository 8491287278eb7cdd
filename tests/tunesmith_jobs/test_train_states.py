"""States come back as they were, to the last bit; what was written by something else is told of, and nothing is run."""

import json
import math
import pickle
import random
from pathlib import Path
from typing import Any

import pytest


def test_every_generator_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    import numpy as np
    import torch

    from tunesmith_jobs.train.checkpoint import states

    def draw() -> list[Any]:
        drawn = [random.random(), random.gauss(0, 1), float(np.random.normal()), float(np.random.rand())]
        return [*drawn, *torch.rand(3).tolist(), float(torch.randn(()))]

    random.seed(3)
    np.random.seed(4)
    torch.manual_seed(5)
    draw()  # each has one half of a pair of normal numbers left now
    states.write_tensors(tmp_path / "random_state.safetensors", states.random_states())
    then = draw()
    draw()
    states.set_random_states(states.read_tensors(tmp_path / "random_state.safetensors"))
    assert draw() == then


@pytest.mark.parametrize(
    "name",
    [
        "constant",
        "cosine",
        "linear",
        "polynomial",
        "reduce_lr_on_plateau",
        "cosine_with_min_lr",
        "inverse_sqrt",
    ],
)
def test_every_kind_of_schedule_is_json(tmp_path: Path, name: str) -> None:
    import torch
    from transformers import get_scheduler

    from tunesmith_jobs.train.checkpoint import states

    def made() -> Any:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
        more = {"min_lr": 0.01} if "min_lr" in name else {}
        return get_scheduler(name, optimizer, 2, 10, scheduler_specific_kwargs=more)

    schedule, other = made(), made()
    for _ in range(3):
        schedule.optimizer.step()
        schedule.step(*([1.0] if name == "reduce_lr_on_plateau" else []))
    states.write_json(tmp_path / "scheduler.json", schedule.state_dict())
    json.loads((tmp_path / "scheduler.json").read_bytes())
    back = states.read_json(tmp_path / "scheduler.json")
    assert repr(back) == repr(schedule.state_dict())
    other.load_state_dict(back)
    assert repr(other.state_dict()) == repr(schedule.state_dict())


def test_numbers_that_json_has_no_word_for_come_back(tmp_path: Path) -> None:
    import numpy as np
    import torch

    from tunesmith_jobs.train.checkpoint import states

    value = {"a": [math.inf, -math.inf], 3: (np.float64(1.5), torch.float32), None: {(1, "x"): True}}
    states.write_json(tmp_path / "x.json", value)
    back = states.read_json(tmp_path / "x.json")
    assert back == value
    assert type(back[3]) is tuple
    states.write_json(tmp_path / "x.json", math.nan)
    assert math.isnan(states.read_json(tmp_path / "x.json"))


def test_a_tensor_that_lies_across_its_memory_comes_back(tmp_path: Path) -> None:
    import torch

    from tunesmith_jobs.train.checkpoint import states
    from tunesmith_jobs.train.checkpoint.snapshots import Snapshots

    tensor = torch.arange(6.0).reshape(2, 3).t()
    states.write_tensors(tmp_path / "a", {"x": tensor})
    snapshots = Snapshots(tmp_path / "kept")
    snapshots.plan_state(tmp_path / "b", {"x": tensor})
    for file in snapshots.take():
        file.write()
    for name in ("a", "b"):
        assert torch.equal(states.read_tensors(tmp_path / name)["x"], tensor)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1]", b'{"x": 0}', b'{"x": -1}', b'{"d": [1]}', b'{"d": [], "l": []}', b'{"q": 1}', b'{"f": "1"}',
     b'{"y": "os"}', b'{"l":' * 100_000, pickle.dumps({"a": 1})],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_state_is_told_of(tmp_path: Path, text: bytes) -> None:
    from tunesmith_jobs.train.checkpoint import states

    (tmp_path / "scheduler.json").write_bytes(text)
    with pytest.raises(states.Unreadable, match=r"scheduler\.json"):
        states.read_json(tmp_path / "scheduler.json")


@pytest.mark.parametrize(
    "given", [{}, {"python": 1}, {"python": (3, (1, 2), None), "numpy": ("x", [], 0, 0, 0.0)}]
)
def test_random_states_that_are_none_are_told_of(given: Any) -> None:
    from tunesmith_jobs.train.checkpoint import states

    with pytest.raises(states.Unreadable, match="random states"):
        states.set_random_states(given)


def test_a_file_of_states_has_its_name_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker waits for the others' files, and hashes what it finds."""
    import safetensors.torch

    from tunesmith_jobs.train.checkpoint import states

    file, library, seen = tmp_path / states.random_file(1, 2), safetensors.torch.save_file, []

    def save(*arguments: Any) -> None:
        library(*arguments)
        seen.append(file.exists())

    monkeypatch.setattr(safetensors.torch, "save_file", save)
    states.write_tensors(file, states.random_states())
    assert seen == [False]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

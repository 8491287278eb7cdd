"""Each optimizer on the tiny model: it learns, its state survives a checkpoint, what cannot work is refused."""

from pathlib import Path
from typing import Any

import pytest
import training_run as tr

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.availability import is_installed, optimizer_problems
from tunesmith.lifecycle import Reason, State
from tunesmith.model_folder.problems import PICKLES
from tunesmith.spec.optimizers import OPTIMIZERS, chosen_optimizer
from tunesmith.spec.training import TrainSpec

ON_CPU = [name for name, needs in OPTIMIZERS.items() if not needs.needs_gpu]
ON_GPU = [name for name in OPTIMIZERS if name not in ON_CPU]


def mechanism(name: str) -> tuple[str, bool]:
    """What keeps an optimizer's state: whose code it is, and whether it acts in the backward pass."""
    needs = OPTIMIZERS[name]
    return needs.module or ("transformers" if name == "adafactor" else "torch"), needs.moves_in_backward


def each(names: list[str]) -> list[Any]:
    """One of each mechanism, and in the long form of the suite all others."""
    first: dict[tuple[str, bool], str] = {}
    for name in names:
        first.setdefault(mechanism(name), name)
    is_first = set(first.values())
    return [pytest.param(name, marks=[] if name in is_first else pytest.mark.long) for name in names]


pytestmark = pytest.mark.usefixtures("one_thread")


def options(name: str) -> dict[str, Any]:
    accumulates = not OPTIMIZERS[name].moves_in_backward
    return {
        "optim": name,
        "use_lora": False,
        "precision": "fp32",
        "learning_rate": 0.05 if name in ("sgd", "lomo") else 1e-3,
        "per_device_train_batch_size": 2 if accumulates else 4,
        "gradient_accumulation_steps": 2 if accumulates else 1,
        "max_steps": 12,
        "save_steps": 6,
        "warmup_ratio": 0.0,
        "lr_scheduler_type": "linear",
    }


def weights(folder: Path) -> bytes:
    return (folder / "artifacts" / FINAL_MODEL / "model.safetensors").read_bytes()


def assert_learns_and_resumes(tmp_path: Path, model: Path, name: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    outcome = tr.run(whole, model, **options(name))
    assert outcome.outcome is State.COMPLETED, outcome
    loss = tr.losses(whole)
    assert sorted(loss) == list(range(1, 13))
    assert loss[12] < loss[1], loss
    outcome = tr.run(cut, model, stop_at=6, **options(name))
    assert outcome.reason is Reason.STOPPED_BY_USER, outcome
    outcome = tr.run(cut, model, attempt=2, **options(name))
    assert outcome.outcome is State.COMPLETED, outcome
    assert tr.losses(cut, 2)  # it did go on, and did not begin again
    # A step whose weights move with each gradient is not given up.
    assert min(tr.losses(cut, 2)) == max(tr.losses(cut, 1)) + 1
    assert tr.losses(cut, 1, 2) == loss
    assert weights(cut) == weights(whole)
    saved = (cut / "artifacts" / "checkpoints").rglob("*")
    assert not [path.name for path in saved if path.suffix in PICKLES], (
        "every state fits safetensors and JSON"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", each(ON_CPU))
def test_it_learns_and_goes_on_exactly(tmp_path: Path, model: Path, name: str) -> None:
    assert_learns_and_resumes(tmp_path, model, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", each(ON_GPU))
def test_one_that_needs_a_gpu_goes_on_exactly_where_cuda_is_acted(
    tmp_path: Path, model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setitem(OPTIMIZERS, name, OPTIMIZERS[name]._replace(needs_gpu=False))
    assert_learns_and_resumes(tmp_path, model, name)


@pytest.mark.parametrize("name", ["adamw_torch", "paged_adamw_8bit", "schedule_free_adamw", "lomo"])
def test_it_trains_a_lora_too(tmp_path: Path, model: Path, name: str) -> None:
    more = options(name) | {
        "use_lora": True,
        "learning_rate": 0.1 if name == "lomo" else 1e-2,
        "lora_alpha": 128,
    }
    outcome = tr.run(tmp_path, model, **more)
    assert outcome.outcome is State.COMPLETED, outcome
    loss = tr.losses(tmp_path)
    assert loss[12] < loss[1]


def test_every_choice_of_the_spec_is_in_the_table() -> None:
    assert set(TrainSpec.model_json_schema()["properties"]["optim"]["enum"]) == set(OPTIMIZERS)


EVALUATES = {"eval_strategy": "epoch", "eval_sampling_ratio": 0.1}


def spec(**more: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t.jsonl", "use_lora": False} | more)


@pytest.mark.parametrize(
    ("device", "more", "received"),
    [
        ("cpu", {}, "adamw_torch_fused"),
        ("cpu", {"optim": "adafactor"}, "adafactor"),
        ("cpu", {"deepspeed_stage": 2}, "adamw_torch"),
        ("cuda", {}, "adamw_torch"),
    ],
)
def test_adamw_is_one_operation_on_a_cpu(device: str, more: dict[str, Any], received: str) -> None:
    from tunesmith_jobs.models.precision import Choice
    from tunesmith_jobs.train.run.build_optimizer import library_name

    assert library_name(spec(**more), Choice(device, "fp32", "")) == received  # type: ignore[arg-type]


def test_the_8_bit_switch_picks_the_8_bit_form() -> None:
    assert chosen_optimizer(spec(use_8bit_optimizer=True)) == "adamw_8bit"
    assert chosen_optimizer(spec(use_8bit_optimizer=True, optim="adamw_torch_fused")) == "adamw_8bit"
    assert chosen_optimizer(spec(use_8bit_optimizer=True, optim="paged_adamw_32bit")) == "paged_adamw_32bit"


@pytest.mark.parametrize(
    ("more", "absent", "fields", "cure"),
    [
        ({"optim": "adamw_torch"}, [], [], None),
        ({"optim": "stable_adamw"}, ["optimi"], ["optim"], 'pip install "tunesmith[optimizers]"'),
        ({"optim": "adamw_8bit"}, ["bitsandbytes"], ["optim"], 'pip install "tunesmith[optimizers]"'),
        ({"optim": "adalomo", "gradient_accumulation_steps": 1}, [], ["optim"], "adafactor"),
        ({"optim": "galore_adamw_8bit"}, [], ["optim"], "galore_adamw"),
        ({"optim": "lomo"}, [], ["gradient_accumulation_steps"], "per_device_train_batch_size=8"),
        ({"optim": "apollo_adamw_layerwise"}, [], ["gradient_accumulation_steps"], "=8"),
    ],
)
def test_what_cannot_work_is_refused_with_its_cure(
    more: dict[str, Any], absent: list[str], fields: list[str], cure: str | None
) -> None:
    found = optimizer_problems(
        spec(**more), on_cpu=True, workers=1, installed=lambda name: name not in absent
    )
    assert [problem.field for problem in found] == fields
    if cure:
        assert cure in (found[0].hint or "")


def test_workers_are_refused_where_they_cannot_work() -> None:
    layerwise = spec(optim="galore_adamw_layerwise", gradient_accumulation_steps=1)
    assert [p.field for p in optimizer_problems(layerwise, on_cpu=True, workers=2)] == ["num_workers"]


def test_a_job_refuses_an_optimizer_whose_package_is_absent(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tunesmith.availability.is_installed", lambda name: name != "schedulefree" and is_installed(name)
    )
    outcome = tr.run(tmp_path, model, optim="schedule_free_adamw")
    assert outcome.reason is Reason.BAD_PARAMETERS
    assert "tunesmith[optimizers]" in outcome.message


@pytest.mark.parametrize("schedule", ["constant", "reduce_lr_on_plateau", "cosine"])
def test_a_schedule_free_optimizer_warms_up_as_its_schedule_does(schedule: str) -> None:
    import torch
    from schedulefree import AdamWScheduleFree

    from tunesmith_jobs.train.run.build_optimizer import fit

    made = AdamWScheduleFree([torch.nn.Parameter(torch.ones(4))], warmup_steps=5)
    fitted = fit(made, spec(optim="schedule_free_adamw", lr_scheduler_type=schedule, **EVALUATES))
    assert [group["warmup_steps"] for group in fitted.param_groups] == [0]


def test_a_schedule_free_optimizer_is_evaluated_and_saved_at_its_average() -> None:
    import torch
    from schedulefree import AdamWScheduleFree

    from tunesmith_jobs.train.run.build_optimizer import evaluating

    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = AdamWScheduleFree([weight], lr=0.1)
    optimizer.train()
    for _ in range(3):
        weight.grad = torch.ones(4)
        optimizer.step()
    trained = weight.detach().clone()
    with evaluating(optimizer):
        averaged = weight.detach().clone()
    assert not torch.equal(trained, averaged)
    assert torch.allclose(weight, trained)
    # x = (y - (1 - beta) z) / beta, by the method's own definition (Defazio et al. 2024).
    z = optimizer.state[weight]["z"]
    assert torch.allclose(averaged, (trained - 0.1 * z) / 0.9)

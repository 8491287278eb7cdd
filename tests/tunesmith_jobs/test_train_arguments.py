"""From a row of the spec to what the library, or Ray, receives."""

from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.job import JobDocument
from tunesmith.scaling import accumulation_at, check_elastic
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import precision
from tunesmith_jobs.models.precision import Choice, choose
from tunesmith_jobs.program import Needs
from tunesmith_jobs.train.program import Training
from tunesmith_jobs.train.run.arguments import trainer_arguments

GIVEN = {"model_name_or_path": "/m", "train_file": "/t.jsonl"}
CPU = Choice("cpu", "fp32", "")


def spec(**more: Any) -> TrainSpec:
    return TrainSpec.read(GIVEN | more)


def needs(**more: Any) -> Needs:
    document = JobDocument.model_construct(spec=spec(**more).model_dump(mode="json"))
    return Training().needs(document)


def received(choice: Choice = CPU, rows: int = 100, **more: Any) -> dict[str, Any]:
    return trainer_arguments(spec(**more), Path("/scratch"), choice, rows, evaluates=True).values


EVALUATES = {"eval_strategy": "steps", "eval_sampling_ratio": 0.1}

# What a spec says -> what of the library's arguments it decides.
TABLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"optim": "adafactor"}, {"optim": "adafactor"}),
    ({"use_8bit_optimizer": True}, {"optim": "adamw_8bit"}),
    (
        {"optim": "galore_adamw", "use_lora": False},
        {"optim": "galore_adamw", "optim_target_modules": "all-linear"},
    ),
    (
        {"optim": "galore_adamw_layerwise", "use_lora": False, "gradient_accumulation_steps": 1},
        {"optim": "galore_adamw", "max_grad_norm": 0.0},
    ),
    ({"learning_rate": 3e-4}, {"learning_rate": 3e-4}),
    ({"weight_decay": 0.2}, {"weight_decay": 0.2}),
    ({"max_grad_norm": 0.3}, {"max_grad_norm": 0.3}),
    ({"max_grad_norm": 0}, {"max_grad_norm": 0.0}),
    ({"lr_scheduler_type": "linear"}, {"lr_scheduler_type": "linear"}),
    (
        {"lr_scheduler_type": "cosine_with_restarts", "num_cycles": 3},
        {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 3}},
    ),
    (
        {"lr_scheduler_type": "cosine_with_min_lr", "min_lr": 1e-5},
        {"lr_scheduler_kwargs": {"min_lr": 1e-5}},
    ),
    (
        {"lr_scheduler_type": "warmup_stable_decay", "max_steps": 50, "learning_rate": 1e-3, "min_lr": 1e-4},
        {"lr_scheduler_kwargs": {"num_decay_steps": 5, "min_lr_ratio": pytest.approx(0.1)}},
    ),
    (
        {"lr_scheduler_type": "warmup_stable_decay", "max_steps": 50, "num_decay_steps": 20},
        {"lr_scheduler_kwargs": {"num_decay_steps": 20, "min_lr_ratio": 0.0}},
    ),
    (
        {"lr_scheduler_type": "reduce_lr_on_plateau", **EVALUATES},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "metric_for_best_model": "eval_loss"},
    ),
    ({"max_steps": 40, "warmup_ratio": 0.25}, {"max_steps": 40, "warmup_steps": 10}),
    ({"max_steps": 40, "warmup_ratio": 0.25, "warmup_steps": 3}, {"warmup_steps": 3}),
    ({"lr_scheduler_type": "constant", "warmup_steps": 3}, {"warmup_steps": 0}),
    (
        {"num_train_epochs": 3, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 2},
        {"max_steps": 30, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 2},
    ),
    ({"gradient_checkpointing": True}, {"activation_checkpointing": True}),
    ({"gradient_checkpointing": False}, {"activation_checkpointing": False}),
    ({"torch_compile": True}, {"torch_compile": True}),
    ({"seed": 7}, {"seed": 7}),
]


@pytest.mark.parametrize(
    ("more", "expected"), TABLE, ids=[" ".join(map(str, row[0].items())) for row in TABLE]
)
def test_the_library_receives_what_the_spec_says(more: dict[str, Any], expected: dict[str, Any]) -> None:
    values = received(**more)
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice("cpu", "bf16", ""), {"bf16": True, "fp16": False, "use_cpu": True, "tf32": None}),
        (Choice("cuda", "fp16", ""), {"bf16": False, "fp16": True, "use_cpu": False, "tf32": None}),
        (Choice("cuda", "fp32", "", tf32=True), {"bf16": False, "fp16": False, "tf32": True}),
    ],
)
def test_the_library_receives_the_choice(choice: Choice, expected: dict[str, Any]) -> None:
    values = received(choice)
    assert {name: values[name] for name in expected} == expected


def test_the_arguments_are_the_library_s_own() -> None:
    from transformers import TrainingArguments

    values = received(Choice("cpu", "bf16", ""), lr_scheduler_type="reduce_lr_on_plateau", **EVALUATES)
    assert TrainingArguments(**values).max_steps == values["max_steps"]


@pytest.fixture
def amx(tmp_path: Path) -> Path:
    file = tmp_path / "cpuinfo"
    file.write_text("flags\t\t: fpu amx_bf16\n")
    return file


def test_tf32_without_a_gpu_is_a_warning(amx: Path) -> None:
    choice = choose(spec(tf32=True), amx)
    assert not choice.tf32
    assert [warning.code for warning in choice.warnings] == ["tf32_unavailable"]
    assert not choose(spec(), amx).warnings


@pytest.mark.parametrize(
    ("asked", "got"), [("auto", "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")]
)  # fmt: skip
def test_the_attention_is_picked_with_its_reason(asked: str, got: str, amx: Path) -> None:
    choice = choose(spec(attn_implementation=asked), amx)
    assert choice.attention == got
    assert choice.facts()["attention_why"]


def test_flash_attention_is_refused_where_it_cannot_run(amx: Path) -> None:
    with pytest.raises(InvalidInput, match="needs a GPU"):
        choose(spec(attn_implementation="flash_attention_2"), amx)
    with pytest.raises(InvalidInput, match="flash-attn") as caught:
        precision._attention(spec(attn_implementation="flash_attention_2"), Choice("cuda", "bf16", ""))
    assert "pip install flash-attn" in (caught.value.hint or "")


def test_flash_attention_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert precision._attention(spec(), Choice("cuda", "bf16", ""))[0] == "flash_attention_2"
    assert precision._attention(spec(), Choice("cuda", "fp32", ""))[0] == "sdpa"


def test_compiling_needs_a_compiler(amx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InvalidInput, match="compiler"):
        choose(spec(torch_compile=True), amx)
    assert choose(spec(), amx).device == "cpu"


def test_fewer_workers_take_more_batches_each(monkeypatch: pytest.MonkeyPatch) -> None:
    elastic = spec(num_workers="1:4", gradient_accumulation_steps=3)
    assert [accumulation_at(elastic, workers) for workers in (1, 2, 3, 4)] == [12, 6, 4, 3]
    check_elastic(elastic)
    plans = []
    for workers in (1, 2, 4):
        monkeypatch.setenv("WORLD_SIZE", str(workers))
        made = trainer_arguments(elastic, Path("/s"), CPU, 100, evaluates=False)
        plans.append(made.plan)
        batch = made.values["per_device_train_batch_size"] * made.values["gradient_accumulation_steps"]
        assert batch * workers == 24
    assert len(set(plans)) == 1
    with pytest.raises(InvalidInput) as caught:
        check_elastic(spec(num_workers="1:4", gradient_accumulation_steps=4))
    assert "gradient_accumulation_steps=6" in (caught.value.hint or "")


NODES = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}]


@pytest.mark.parametrize(
    ("more", "use_gpu", "expected"),
    [
        ({}, False, {"num_workers": 1, "use_gpu": False, "resources_per_worker": {"CPU": 8.0}}),
        ({"num_workers": 4}, False, {"num_workers": 4, "resources_per_worker": {"CPU": 2.0}}),
        ({"num_workers": 2}, True, {"use_gpu": True, "resources_per_worker": {"GPU": 1.0, "CPU": 4.0}}),
        ({"num_workers": "2:4"}, False, {"num_workers": (2, 4), "resources_per_worker": {"CPU": 2.0}}),
        ({"resources_per_worker": {"CPU": 3}}, False, {"resources_per_worker": {"CPU": 3}}),
        ({"num_workers": 2, "placement": "spread"}, False, {"placement_strategy": "SPREAD"}),
        ({"num_workers": 2, "placement": "pack"}, False, {"placement_strategy": "PACK"}),
    ],
)
def test_ray_receives_what_the_spec_says(
    more: dict[str, Any], use_gpu: bool, expected: dict[str, Any]
) -> None:
    from tunesmith_jobs.placement import scaling_config

    made = scaling_config(needs(**more), use_gpu, NODES)
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("more", "use_gpu", "spare", "expected"),
    [
        ({}, False, 2, {"CPU": 6.0}),
        ({"num_workers": 3}, False, 2, {"CPU": 2.0}),
        ({}, True, 2, {"GPU": 1.0, "CPU": 3.0}),
        ({}, False, 8, {"CPU": 1.0}),
        ({"resources_per_worker": {"CPU": 8}}, False, 2, {"CPU": 8}),
    ],
)
def test_a_training_leaves_processors_to_others(
    more: dict[str, Any], use_gpu: bool, spare: float, expected: dict[str, float]
) -> None:
    from tunesmith_jobs.cluster import resources_of

    assert resources_of(needs(**more), use_gpu, NODES, spare) == expected


def test_ray_starts_no_process_that_hands_out_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each start of the workers takes seconds of processor more, for nothing."""
    monkeypatch.setenv("RAY_TRAIN_V2_ENABLED", "1")
    from ray.train import RunConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from tunesmith_jobs.placement import scaling_config, without_data_sets

    options = {
        "scaling_config": scaling_config(needs(), False, NODES),
        "run_config": RunConfig(name="one", storage_path=str(tmp_path)),
    }
    for trainer in (DataParallelTrainer, TorchTrainer):
        theirs, ours = (
            {type(one).__name__ for one in made(print, **options)._create_default_callbacks()}
            for made in (trainer, without_data_sets(trainer))
        )
        assert theirs - ours == {"DatasetsCallback"}

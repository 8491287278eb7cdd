"""What packages and hardware rule out is refused at submit, with the cure."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith import zero
from tunesmith.errors import InvalidInput
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.hardware import Hardware
from tunesmith_platform.tasks.preflight import check_fitness

HERE = Compute(machine=Hardware(cpu_name="a CPU", cpus=2, cpu_flags=frozenset(), gpus=()))
"""This machine is all of the cluster, whether Ray has answered or not."""
PRESETS = Path(__file__).parents[2] / "configs" / "deepspeed"


def spec(**more: Any) -> TrainSpec:
    return TrainSpec.read(
        {"model_name_or_path": "/m", "train_file": "/t.jsonl", "use_lora": False, "device": "cpu"} | more
    )


@pytest.mark.parametrize(
    ("more", "absent", "field", "cure"),
    [
        ({"optim": "grokadamw"}, "grokadamw", "spec.optim", "tunesmith[optimizers]"),
        ({"report_to": ["wandb"]}, "wandb", "spec.report_to", "tunesmith[trackers]"),
        ({"deepspeed_stage": 2}, "deepspeed", "spec.deepspeed_stage", "tunesmith[deepspeed]"),
        (
            {"num_workers": "2:3", "gradient_accumulation_steps": 1},
            "",
            "spec.gradient_accumulation_steps",
            "=2",
        ),
    ],
)
def test_what_is_absent_is_refused_with_its_cure(
    more: dict[str, Any], absent: str, field: str, cure: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_fitness(spec(**more), HERE, lambda name: name != absent)
    assert [problem.field for problem in caught.value.problems] == [field]
    assert cure in (caught.value.hint or "")


@pytest.mark.parametrize(("compute", "absent"), [(HERE, "torch"), (Compute(), "grokadamw")])
def test_packages_are_looked_for_where_the_jobs_have_theirs(compute: Compute, absent: str) -> None:
    """Not where the cluster is elsewhere, nor where the platform has an environment of its own."""

    def installed(name: str) -> bool:
        return name not in (absent, "grokadamw", "wandb", "deepspeed")

    check_fitness(spec(optim="grokadamw", report_to=["wandb"]), compute, installed)
    check_fitness(spec(deepspeed_stage=3), compute, installed)


def test_what_no_cluster_can_do_is_refused_for_every_cluster() -> None:
    with pytest.raises(InvalidInput, match="does not work with DeepSpeed"):
        check_fitness(spec(optim="grokadamw", deepspeed_stage=3), Compute(), lambda name: False)


def test_the_preset_files_are_what_the_stages_mean() -> None:
    found = {file.stem: json.loads(file.read_text()) for file in PRESETS.glob("*.json")}
    assert found == zero.presets()
    for stage in (1, 2, 3):
        config = zero.zero_config(spec(deepspeed_stage=stage), Path("/scratch"))
        assert config["zero_optimization"]["stage"] == stage
    on_disk = zero.zero_config(spec(deepspeed_stage=3, deepspeed_offload="nvme"), Path("/scratch"))
    assert on_disk["zero_optimization"]["offload_param"]["nvme_path"] == "/scratch"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("not json", "no JSON"),
        ("[]", "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 4}}', "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 2}, "zero_optimisation": {}}', "zero_optimisation"),
        ('{"zero_optimization": {"stage": 2}, "tensorboard": {"output_path": "/etc"}}', "tensorboard"),
        ('{"zero_optimization": {"stage": 2}, "train_batch_size": 7}', "train_batch_size"),
        ('{"zero_optimization": {"stage": 2}, "bf16": {"enabled": true}}', "bf16"),
        ('{"zero_optimization": {"stage": 2, "offload_param": "cpu"}}', "offload_param"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=word):
        zero.read_config(file)


def test_a_user_s_own_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(
        '{"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/etc"}}}'
    )
    config = zero.zero_config(spec(deepspeed=str(file)), tmp_path / "scratch")
    assert config["train_batch_size"] == "auto"
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert config["zero_optimization"]["offload_param"]["nvme_path"] == str(tmp_path / "scratch")

"""A checkpoint of Hugging Face's Trainer is taken up as tensors and plain values, and a run goes on from it."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import training_run as tr
from safetensors.torch import load_file
from typer.testing import CliRunner

from tunesmith.artifacts import faults_of
from tunesmith.errors import InvalidInput, NotOurs
from tunesmith.lifecycle import State
from tunesmith.model_folder import check_model_folder
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models import commands
from tunesmith_jobs.train.checkpoint import states
from tunesmith_jobs.train.checkpoint.importing import take_up
from tunesmith_platform.tasks.inputs import check_starts

TARGETS = ["q_proj", "v_proj"]
SAME = {"r": 4, "lora_alpha": 4, "target_modules": TARGETS, "save_steps": 4, "lora_dropout": 0.0, "weight_decay": 0.01,
        "num_train_epochs": 1, "max_steps": 4}  # fmt: skip


def train_there(folder: Path, model: Path, *, lora: bool, rows: int = 0, **given: Any) -> Path:
    """Two steps of the library's own Trainer; its checkpoint."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    torch.manual_seed(1)
    found = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if rows:
        found.resize_token_embeddings(found.config.vocab_size + rows)
    if lora:
        found = get_peft_model(
            found, LoraConfig(r=4, lora_alpha=4, target_modules=TARGETS, task_type="CAUSAL_LM")
        )
    data = [{"input_ids": torch.arange(8) + n, "labels": torch.arange(8) + n} for n in range(8)]
    arguments = TrainingArguments(
        str(folder), max_steps=2, save_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        learning_rate=1e-3, weight_decay=0.01, disable_tqdm=True, **given,
    )  # fmt: skip
    Trainer(found, arguments, train_dataset=data, eval_dataset=data[:2]).train()
    return folder / "checkpoint-2"


@pytest.fixture(scope="module")
def theirs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_there(tmp_path_factory.mktemp("hf"), model, lora=True)


@pytest.fixture
def source(theirs: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(theirs, tmp_path / "checkpoint-2"))


def test_weights_and_optimizer_are_the_same_numbers(source: Path, tmp_path: Path) -> None:
    step, lost = take_up(source, tmp_path / "ours")
    ours = tmp_path / "ours"
    assert (step, faults_of(ours)) == (2, [])
    assert [path.name for path in ours.iterdir() if path.suffix in (".pt", ".pth", ".bin")] == []
    before, after = (
        load_file(source / "adapter_model.safetensors"),
        load_file(ours / "adapter_model.safetensors"),
    )
    assert {name: tensor.tolist() for name, tensor in before.items()} == {
        name: tensor.tolist() for name, tensor in after.items()
    }
    saved = torch.load(source / "optimizer.pt", weights_only=True)
    read = states.read_tensors(ours / "optimizer.safetensors")
    assert read["param_groups"] == saved["param_groups"]
    assert all(torch.equal(read["state"][n]["exp_avg"], one["exp_avg"]) for n, one in saved["state"].items())
    named = [
        json.loads((at / "adapter_config.json").read_text())["base_model_name_or_path"]
        for at in (source, ours)
    ]
    assert Path(named[0]).is_absolute()
    assert named[1] == Path(named[0]).name, "what is stored names no folder of the machine"
    words = " ".join(lost)
    assert "training_args.bin" in words
    assert "Which rows were trained" in words


@pytest.mark.parametrize("lora", [True, False])
def test_a_run_goes_on_from_it(tmp_path: Path, model: Path, theirs: Path, lora: bool) -> None:
    there = theirs if lora else train_there(tmp_path / "hf", model, lora=False)
    take_up(there, tmp_path / "ours")
    other = SAME if lora else {"use_lora": False, "max_steps": 4, "save_steps": 4, "target_modules": ["auto"]}
    outcome = tr.run(tmp_path, model, resume_from_checkpoint=str(tmp_path / "ours"), **other)
    assert outcome.outcome is State.COMPLETED, outcome
    assert [one["step"] for one in tr.kinds(tmp_path, "metrics") if "loss" in one["values"]] == [3, 4]


PLATEAU = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 1}


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({}, {"optim": "sgd"}, "`optim` is sgd; the checkpoint was trained with adamw_torch"),
        *(
            pytest.param(*one, marks=pytest.mark.long)
            for one in (
                (
                    {},
                    {"optim": "adafactor"},
                    "`optim` is adafactor; the checkpoint was trained with adamw_torch",
                ),
                ({}, {"optim": "adamw_8bit"}, "`optim` is adamw_8bit"),
                ({"optim": "sgd"}, {}, "`optim` is adamw_torch; the checkpoint was trained with sgd"),
                ({"optim": "adafactor"}, {}, "the checkpoint was trained with adafactor"),
            )
        ),
        (PLATEAU, {}, "a schedule of another kind than `lr_scheduler_type="),
    ],
)
def test_a_state_of_another_kind_is_refused_with_the_parameter(
    tmp_path: Path, model: Path, there: dict[str, Any], here: dict[str, Any], words: str
) -> None:
    """It ended in the first step, with a key of the library's."""
    take_up(train_there(tmp_path / "hf", model, lora=True, **there), tmp_path / "ours")
    outcome = tr.run(tmp_path, model, resume_from_checkpoint=str(tmp_path / "ours"), **(SAME | here))
    assert outcome.outcome is State.FAILED
    assert outcome.reason == "bad_parameters"
    assert words in outcome.message


def test_weights_that_torch_wrote_become_safetensors(source: Path, tmp_path: Path) -> None:
    weights = load_file(source / "adapter_model.safetensors")
    (source / "adapter_model.safetensors").unlink()
    torch.save(weights, source / "adapter_model.bin")
    take_up(source, tmp_path / "ours")
    assert load_file(tmp_path / "ours" / "adapter_model.safetensors").keys() == weights.keys()


@pytest.mark.parametrize("lora", [True, False])
def test_a_resized_vocabulary_is_refused_at_submit(tmp_path: Path, model: Path, lora: bool) -> None:
    """It was refused only as the run began, by the name of a tensor."""
    take_up(train_there(tmp_path / "hf", model, lora=lora, rows=8), tmp_path / "ours")
    given = {"model_name_or_path": str(model), "train_file": "/t", "use_lora": lora, "r": 4, "lora_alpha": 4}
    spec = TrainSpec.read(
        given | {"target_modules": TARGETS, "resume_from_checkpoint": str(tmp_path / "ours")}
    )
    with pytest.raises(InvalidInput) as caught:
        check_starts(spec, check_model_folder(model))
    assert [problem.field for problem in caught.value.problems] == ["spec.model_name_or_path"]
    assert "resized" in caught.value.message
    take_up(train_there(tmp_path / "same", model, lora=lora), tmp_path / "unchanged")
    check_starts(
        spec.model_copy(update={"resume_from_checkpoint": str(tmp_path / "unchanged")}),
        check_model_folder(model),
    )


class Trap:
    """A pickle that makes a folder when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "adapter_model.bin", "rng_state.pth"])
@pytest.mark.parametrize("bare", [True, False])
def test_a_pickle_that_is_more_is_never_run(source: Path, tmp_path: Path, name: str, bare: bool) -> None:
    sprung = tmp_path / "sprung"
    if name == "adapter_model.bin":
        (source / "adapter_model.safetensors").unlink()
    if bare:
        (source / name).write_bytes(pickle.dumps(Trap(sprung)))
    else:
        torch.save({"state": Trap(sprung)}, source / name)
    (source / "training_args.bin").write_bytes(pickle.dumps(Trap(sprung)))
    if name == "rng_state.pth":  # it can do without
        _, lost = take_up(source, tmp_path / "ours")
        assert any("random numbers" in line for line in lost)
    else:
        with pytest.raises(InvalidInput) as caught:
            take_up(source, tmp_path / "ours")
        assert "weights" in str(caught.value.hint)
        assert not (tmp_path / "ours").exists()
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "trainer_state.json").unlink(), "no `trainer_state.json`"),
        (lambda folder: (folder / "trainer_state.json").write_text("[1]"), "cannot be read"),
        (lambda folder: (folder / "trainer_state.json").write_text('{"global_step": "x"}'), "cannot be read"),
        (lambda folder: (folder / "optimizer.pt").unlink(), "saved the model alone"),
        (lambda folder: (folder / "optimizer.pt").write_bytes(b"PK\x03\x04"), "cannot be read"),
        (lambda folder: (folder / "scheduler.pt").unlink(), "scheduler.pt"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "neither a LoRA"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "has neither"),
        (lambda folder: (folder / "global_step2").mkdir(), "in parts"),
        (shutil.rmtree, "is no folder"),
    ],
)
def test_what_is_none_is_said_and_leaves_nothing(
    source: Path, tmp_path: Path, spoil: Any, words: str
) -> None:
    spoil(source)
    with pytest.raises(InvalidInput, match=words):
        take_up(source, tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir() if "ours" in path.name and path.is_dir()] == []


@pytest.mark.slow
def test_the_command_reads_in_a_process_of_its_own(source: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(commands.app, ["checkpoints", "import", str(source), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["step"], said["path"]) == (2, str(source.with_name("checkpoint-2-imported")))
    assert faults_of(Path(said["path"])) == []


def test_nothing_that_stands_at_the_target_is_replaced(source: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(NotOurs):
        take_up(source, mine)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    take_up(source, tmp_path / "ours")
    take_up(source, tmp_path / "ours")  # its own earlier one is
    assert faults_of(tmp_path / "ours") == []

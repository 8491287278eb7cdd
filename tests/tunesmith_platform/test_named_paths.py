"""No parameter names a path outside the folders that the platform may use."""

import contextlib
import json
from pathlib import Path

import pytest
from model_files import make_model_folder

from tunesmith.errors import PathNotAllowed
from tunesmith.home import Home
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import check_further_paths, check_train_inputs

ROW = {"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Ember."}]}


def check(home: Home, tmp_path: Path, **given: str) -> None:
    root = tmp_path / "allowed"
    if not root.is_dir():
        make_model_folder(root / "model")
        (root / "t.jsonl").write_text(json.dumps(ROW) + "\n")
    base = {"model": str(root / "model"), "train_file": str(root / "t.jsonl"), "target_modules": "auto"}
    check_train_inputs(TrainSpec.read(base | given), Settings(home=home.root, allowed_roots=[root]))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("attach_lora_path", "/etc"),
        ("attach_lora_path", "file:///etc"),
        ("attach_lora_path", "relative/lora"),
        ("attach_lora_path", "s3://elsewhere/lora"),
        ("resume_from_checkpoint", "/etc"),
        ("resume_from_checkpoint", "s3://elsewhere/checkpoint-5"),
        ("resume_from_checkpoint", "http://169.254.169.254/latest"),
        ("peft_config_path", "/etc/passwd"),
        ("deepspeed", "/etc/passwd"),
        ("tokenizer_name_or_path", "/etc"),
        ("tokenizer_name_or_path", "../../etc"),
        ("chat_template", "/etc/passwd"),
    ],
)
def test_a_path_outside_is_refused(home: Home, tmp_path: Path, name: str, given: str) -> None:
    with pytest.raises(PathNotAllowed) as caught:
        check(home, tmp_path, **{name: given})
    assert [problem.field for problem in caught.value.problems] == [f"spec.{name}"]


@pytest.mark.parametrize(
    ("given", "is_allowed"),
    [
        ("s3://ours/files/tasks/t/checkpoints/checkpoint-5", True),
        ("s3://shared/models/lora", True),
        ("s3://ours/files-of-others/lora", False),
        ("s3://shared/models/../secret", False),
        ("s3://shared/models/lora?versionId=1", False),
    ],
)
def test_a_storage_elsewhere_is_read_where_it_is_allowed(home: Home, given: str, is_allowed: bool) -> None:
    settings = Settings(home=home.root, storage_uri="s3://ours/files", allowed_uris=["s3://shared/models/"])
    spec = TrainSpec.read({"model": "m", "train_file": "t.jsonl", "attach_lora_path": given})
    with contextlib.nullcontext() if is_allowed else pytest.raises(PathNotAllowed):
        check_further_paths(spec, settings)


def test_a_checkpoint_in_our_own_storage_may_be_named(home: Home, tmp_path: Path) -> None:
    checkpoint = home.files / "mlflow" / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    check(home, tmp_path, attach_lora_path=str(checkpoint))
    check(home, tmp_path, resume_from_checkpoint=checkpoint.as_uri())

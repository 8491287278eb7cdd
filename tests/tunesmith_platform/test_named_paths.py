"""No parameter names a path outside the folders that the platform may use."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import make_model_folder, safetensors

from tunesmith.artifacts import Manifest, list_files
from tunesmith.errors import InvalidInput, PathNotAllowed
from tunesmith.home import Home
from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import STATE_OF_FILE, StateOf
from tunesmith.storage import open_storage
from tunesmith_platform.settings import Settings
from tunesmith_platform.tasks.inputs import check_further_paths, check_starts, check_train_inputs

ROW = {"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Ember."}]}


def check(home: Home, tmp_path: Path, **given: Any) -> None:
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


def made_checkpoint(folder: Path, kind: str = "checkpoint", **files: str) -> Path:
    """A LoRA's checkpoint, whole."""
    folder.mkdir(parents=True)
    shape = {"peft_type": "LORA", "r": 16, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(shape))
    (folder / "adapter_model.safetensors").write_bytes(
        safetensors({"base_model.model.q.lora_A.weight": [8, 2]})
    )
    for name, text in files.items():
        (folder / name).write_text(text)
    manifest = Manifest(task_id="t", attempt=1, step=5, kind=kind, files=list_files(folder))  # type: ignore[arg-type]
    (folder / "manifest.json").write_bytes(manifest.encode())
    return folder


def test_a_checkpoint_in_our_own_storage_may_be_named(home: Home, tmp_path: Path) -> None:
    checkpoint = made_checkpoint(home.files / "mlflow" / "checkpoint-5")
    check(home, tmp_path, attach_lora_path=str(checkpoint))
    check(home, tmp_path, resume_from_checkpoint=checkpoint.as_uri())


def spoiled(name: str, change: Callable[[Path], object]) -> Callable[[Path], tuple[str, Path]]:
    """A parameter with a checkpoint's folder that is not what it was."""

    def make(root: Path) -> tuple[str, Path]:
        folder = made_checkpoint(root / "checkpoint-5")
        change(folder)
        return name, folder

    return make


def settings_file(text: str | bytes, name: str = "lora.json") -> Callable[[Path], tuple[str, Path]]:
    def make(root: Path) -> tuple[str, Path]:
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return "peft_config_path", root / name

    return make


RESUME, LORA, PEFT = "resume_from_checkpoint", "attach_lora_path", "peft_config_path"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: (RESUME, root / "none"), "does not exist"),
        (lambda root: (RESUME, root / "t.jsonl"), "is a file"),
        (lambda root: (RESUME, root / "model"), "no `manifest.json`"),
        (lambda root: (RESUME, made_checkpoint(root / "final", "model")), "final model"),
        (spoiled(RESUME, lambda folder: (folder / "adapter_model.safetensors").unlink()), "adapter_model"),
        (spoiled(RESUME, lambda folder: (folder / "adapter_config.json").write_text("{}")), "adapter_config.json"),
        (spoiled(RESUME, lambda folder: (folder / "manifest.json").write_text('{"format": 1}')), "not readable"),
        (spoiled(RESUME, lambda folder: os.truncate(folder / "manifest.json", 70 * 2**20)), "manifest.json"),
        (lambda root: (LORA, root / "none"), "does not exist"),
        (lambda root: (LORA, root / "t.jsonl"), "is a file"),
        (lambda root: (LORA, root / "model"), "adapter"),
        (spoiled(LORA, lambda folder: (folder / "adapter_model.safetensors").unlink()), "adapter_model.safetensors"),
        (spoiled(LORA, lambda folder: (folder / "adapter_config.json").write_text("[1]")), "adapter_config.json"),
        (lambda root: (PEFT, root / "none.json"), "does not exist"),
        (lambda root: (PEFT, root / "model"), "no file"),
        (settings_file("not json"), "lora.json"),
        (settings_file("[1, 2]"), "mapping"),
        (settings_file(b"\xff\xfe"), "lora.json"),
        (settings_file('{"r": 8, "rr": 8}'), "no field `rr`"),
        (settings_file("- r\n", "lora.yaml"), "mapping"),
        (settings_file("{" + " " * 2**20 + "}"), "larger"),
    ],
)  # fmt: skip
def test_what_a_task_starts_from_is_looked_at_at_submit(
    home: Home, tmp_path: Path, make: Callable[[Path], tuple[str, Path]], said: str
) -> None:
    check(home, tmp_path)
    name, path = make(tmp_path / "allowed")
    with pytest.raises(InvalidInput) as caught:
        check(home, tmp_path, **{name: str(path)})
    (problem,) = caught.value.problems
    assert (problem.field or "").split(": ")[0] == f"spec.{name}"
    assert said in f"{problem.field} {caught.value.message}"
    assert problem.hint


def test_a_model_without_a_tokenizer_is_taken_with_anothers(home: Home, tmp_path: Path) -> None:
    check(home, tmp_path)
    model = tmp_path / "allowed" / "model"
    other = tmp_path / "allowed" / "tokenizer"
    other.mkdir()
    for file in [*model.glob("*token*"), *model.glob("*.jinja")]:
        file.rename(other / file.name)
    with pytest.raises(InvalidInput, match=r"tokenizer\.json") as caught:
        check(home, tmp_path)
    assert "tokenizer_name_or_path" in str(caught.value.hint)
    check(home, tmp_path, tokenizer_name_or_path=str(other))


@pytest.mark.parametrize(
    ("lora", "given", "field"),
    [
        ({"init_lora_weights": "pissa"}, {"load_in_4bit": True}, "load_in_4bit"),
        ({"layer_replication": [[0, 1]]}, {"merge_lora_after_training": True}, "merge_lora_after_training"),
        ({"trainable_token_indices": [10**9]}, {}, "peft_config_path"),
    ],
)
def test_a_lora_that_does_not_go_with_the_parameters_is_refused_at_submit(
    home: Home, tmp_path: Path, lora: dict[str, Any], given: dict[str, Any], field: str
) -> None:
    check(home, tmp_path)
    file = tmp_path / "allowed" / "lora.json"
    file.write_text(json.dumps(lora))
    with pytest.raises(InvalidInput) as caught:
        check(home, tmp_path, peft_config_path=str(file), **given)
    assert [problem.field for problem in caught.value.problems] == [f"spec.{field}"]


def test_a_state_of_the_other_kind_of_weights_is_refused_at_submit(home: Home, tmp_path: Path) -> None:
    checkpoint = made_checkpoint(home.files / "checkpoint-5")
    with pytest.raises(InvalidInput, match="holds a LoRA") as caught:
        check(home, tmp_path, resume_from_checkpoint=str(checkpoint), use_lora=False)
    assert caught.value.problems[0].field == "spec.resume_from_checkpoint"


def test_a_file_of_lora_settings_may_be_json_or_yaml(home: Home, tmp_path: Path) -> None:
    check(home, tmp_path)
    for name, text in (("lora.json", '{"r": 8}'), ("lora.yaml", "r: 8\n")):
        file = tmp_path / "allowed" / name
        file.write_text(text)
        check(home, tmp_path, peft_config_path=str(file))


def test_what_lies_in_a_bucket_is_looked_at_too(home: Home, tmp_path: Path, s3_uri: str) -> None:
    place = f"{s3_uri}/{tmp_path.name}"
    settings = Settings(home=home.root, allowed_uris=[f"{place}/"])
    open_storage(place).put_folder(made_checkpoint(tmp_path / "made"), "checkpoint-5")

    def look(**given: str) -> None:
        spec = TrainSpec.read({"model": "m", "train_file": "t.jsonl"} | given)
        check_further_paths(spec, settings)
        check_starts(spec)

    look(resume_from_checkpoint=f"{place}/checkpoint-5")
    look(attach_lora_path=f"{place}/checkpoint-5")
    for name in (RESUME, LORA):
        with pytest.raises(InvalidInput, match="checkpoint-6") as caught:
            look(**{name: f"{place}/checkpoint-6"})
        assert caught.value.problems[0].field == f"spec.{name}"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, []),
        ({"lora_alpha": 32, "use_rslora": True}, ["spec.lora_alpha", "spec.use_rslora"]),
        ({"r": 8}, ["spec.r"]),
        ({"optim": "sgd"}, ["spec.optim"]),
        ({"load_in_4bit": True}, ["spec.load_in_4bit"]),
    ],
)
def test_a_state_of_other_parameters_is_refused_at_submit(
    home: Home, tmp_path: Path, given: dict[str, Any], fields: list[str]
) -> None:
    saved = StateOf.of(TrainSpec.read({"model": "m", "train_file": "t.jsonl"})).encode().decode()
    checkpoint = made_checkpoint(home.files / "checkpoint-5", **{STATE_OF_FILE: saved})
    found: list[str] = []
    try:
        check(home, tmp_path, resume_from_checkpoint=str(checkpoint), **given)
    except InvalidInput as error:
        found = [problem.field or "" for problem in error.problems]
    assert sorted(found) == fields


def test_what_is_not_here_names_what_was_meant_and_how_rows_get_in(home: Home, tmp_path: Path) -> None:
    make_model_folder(home.models / "SmolLM2-135M-Instruct")
    for given, said in (
        ({"model": "SmolLM2-135M-Instuct"}, "Did you mean `SmolLM2-135M-Instruct`?"),
        ({"model": "elsewhere"}, "models pull"),
        ({"train_file": "/etc/rows.jsonl"}, "tunesmith data add FILE"),
        ({"train_file": "rows.jsn"}, "tunesmith data list"),
    ):
        with pytest.raises(InvalidInput) as caught:
            check(home, tmp_path, **given)
        assert said in (caught.value.problems[0].hint or "")

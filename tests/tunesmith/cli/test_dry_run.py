"""`--dry-run` says what would be trained and who said it; several data sets and the Hub's are made first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi

import tunesmith
from tunesmith.errors import InvalidData
from tunesmith.spec.training import TrainSpec

BASE = ("train", "--model", "m", "--train-file", "/t.jsonl")
DATA = ("train", "--model", "m", "--detach")


def parameters(said: Any) -> dict[str, Any]:
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)["parameters"]
    return found


def test_every_parameter_says_where_it_comes_from(
    api: FakeApi, cli: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("lr: 3e-4\nuse_lora: false\n")
    found = parameters(cli(*BASE, "--config", str(file), "--seed", "7", "--dry-run", "--json"))
    assert set(found) == set(TrainSpec.model_fields)
    assert found["learning_rate"] == {"value": 3e-4, "from": f"file {file}"}
    assert found["seed"] == {"value": 7, "from": "option"}
    assert found["max_length"] == {"value": 512, "from": "default"}
    assert (found["r"]["from"], found["r"]["has_effect"]) == ("default", False)
    assert api.tasks == {}
    (checked,) = api.checked
    assert checked["spec"]["train_file"] == "/t.jsonl"


def test_a_default_that_follows_says_from_what(api: FakeApi, cli: Callable[..., Any]) -> None:
    found = parameters(cli(*BASE, "--no-use-lora", "--dry-run", "--json"))
    assert found["learning_rate"] == {"value": 2e-5, "from": "default, as use_lora=false"}


def test_lines_are_whole_in_a_pipe(api: FakeApi, cli: Callable[..., Any]) -> None:
    long = "/a" * 60
    said = cli("train", "--model", "m", "--train-file", f"{long}.jsonl", "--dry-run")
    assert f"{long}.jsonl  option" in said.out
    assert "per_device_train_batch_size  " in said.out
    assert "Nothing was started." in said.err


def test_another_tools_defaults_are_called_so(api: FakeApi, cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "lf.yaml"
    file.write_text(
        "stage: sft\nmodel_name_or_path: m\nfinetuning_type: lora\ndataset: /d.json\nlora_rank: 4\n"
    )
    found = parameters(cli("train", str(file), "--dry-run", "--json"))
    assert found["learning_rate"] == {"value": 5e-5, "from": "default of LLaMA-Factory"}
    assert found["r"] == {"value": 4, "from": f"file {file}"}


def test_without_a_platform_its_checks_are_left_out(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TUNESMITH_URL", raising=False)
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    said = cli(*BASE, "--dry-run", "--json")
    assert json.loads(said.out)["checked"] is False
    assert "checks were not made" in said.err


def test_a_file_is_given_once(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    said = cli("train", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "a.yaml"))
    assert said.code == 1
    assert "given twice" in said.err


# --- data sets that are made first


def test_several_files_are_mixed_and_then_trained(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*DATA, "--train-file", "/a.jsonl:0.7", "--train-file", "b@3:0.3", "--seed", "5")
    assert said.code == 0, said.err
    (mixed,) = api.data_runs
    assert mixed["operation"] == "mix"
    assert mixed["parameters"] == {
        "datasets": ["/a.jsonl", "b@3"], "weights": [0.7, 0.3], "seed": 5, "stop": "first_exhausted",
    }  # fmt: skip
    assert api.tasks[said.out.strip()].spec["train_file"] == "mix@1"
    assert "`mix@1` holds 10 rows of /a.jsonl, 11 rows of b@3." in said.err


def test_without_weights_every_row_is_taken(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*DATA, "--train-file", "/a.jsonl", "--train-file", "/b.jsonl")
    assert said.code == 0, said.err
    assert api.data_runs[0]["parameters"] == {
        "datasets": ["/a.jsonl", "/b.jsonl"], "seed": 42, "stop": "all_exhausted",
    }  # fmt: skip


def test_the_hubs_rows_are_loaded_first(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*DATA, "--train-file", "org/name:validation", "--eval-file", "hf://org/held@v1")
    assert said.code == 0, said.err
    train, held = api.data_runs
    assert train["parameters"] == {"provider": "huggingface", "path": "org/name", "split": "validation"}
    assert held["parameters"] == {"provider": "huggingface", "path": "org/held", "revision": "v1"}
    spec = api.tasks[said.out.strip()].spec
    assert (spec["train_file"], spec["eval_file"]) == ("org-name-validation@1", "org-held@1")


def test_a_hub_that_is_out_of_reach_starts_nothing(api: FakeApi, cli: Callable[..., Any]) -> None:
    api.unreachable_hub = True
    said = cli(*DATA, "--train-file", "org/name")
    assert said.code == 1
    assert "no route to the Hub" in said.err
    assert [task.kind for task in api.tasks.values()] == ["dataset"]


def test_a_dry_run_loads_and_mixes_nothing(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*DATA[:-1], "--train-file", "/a.jsonl", "--train-file", "org/name:0.5", "--dry-run", "--json")
    assert said.code == 1  # one has a weight, the other none
    found = cli(
        *DATA[:-1], "--train-file", "/a.jsonl:1", "--train-file", "org/name:0.5", "--dry-run", "--json"
    )
    assert parameters(found)["train_file"]["value"] == ["/a.jsonl:1", "hf://org/name:0.5"]
    assert api.data_runs == []
    assert [body["spec"]["train_file"] for body in api.checked] == ["/a.jsonl"]


def test_the_sdk_takes_several_too(api: FakeApi) -> None:
    api.unreachable_hub = True
    with pytest.raises(InvalidData, match="no route"):
        tunesmith.finetune("m", ["/a.jsonl:2", "org/name:1"], progress=False)
    assert [run["operation"] for run in api.data_runs] == ["load"]


# --- a model of the Hub


@pytest.fixture
def pulls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Notes what is pulled instead of asking a hub; `none/...` is not there."""
    found: list[list[str]] = []

    def run(args: list[str]) -> int:
        found.append(args)
        print("/models/the-folder")
        return int(args[-1].startswith("none/"))

    monkeypatch.setattr("tunesmith.cli.hub_model._pull", run)
    return found


def test_a_model_of_the_hub_is_pulled_first(
    api: FakeApi, cli: Callable[..., Any], pulls: list[list[str]]
) -> None:
    said = cli("train", "--model", "org/model", "--train-file", "/t.jsonl", "--detach")
    assert said.code == 0, said.err
    assert pulls == [["models", "pull", "org/model"]]
    assert said.out.strip() in api.tasks  # and nothing else on that line


@pytest.mark.parametrize("given", ["model", "org/model", "/a/folder", "./a/folder"])
def test_a_model_that_is_there_is_not_pulled(
    api: FakeApi, cli: Callable[..., Any], pulls: list[list[str]], given: str
) -> None:
    api.add_model("model", "org/model")
    assert cli("train", "--model", given, "--train-file", "/t.jsonl", "--detach").code == 0
    assert pulls == []


def test_a_model_that_cannot_be_pulled_starts_nothing(
    api: FakeApi, cli: Callable[..., Any], pulls: list[list[str]]
) -> None:
    said = cli("train", "--model", "none/such", "--train-file", "/t.jsonl", "--detach")
    assert said.code == 1
    assert "could not be pulled" in said.err
    assert api.tasks == {}


def test_a_dry_run_pulls_nothing(api: FakeApi, cli: Callable[..., Any], pulls: list[list[str]]) -> None:
    assert cli("train", "--model", "org/model", "--train-file", "/t.jsonl", "--dry-run").code == 0
    assert pulls == []

"""`tunesmith train`: every parameter has a flag, and what a flag says reaches the server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_api import KEY, FakeApi

from tunesmith.cli.main import build_app
from tunesmith.cli.train import absolute, flag, read_flag, switches
from tunesmith.errors import InvalidInput
from tunesmith.other_tools.reading import read_config
from tunesmith.schema import ParameterRow, rows
from tunesmith.spec.task import NewTrainTask
from tunesmith.spec.training import TrainSpec

BASE = ("train", "--model", "m", "--train-file", "/t.jsonl", "--detach")
ROWS = rows(TrainSpec)
SPELLINGS = [
    (row, spelling)
    for row in ROWS
    for spelling in (row.name, *row.about.aliases)
    if spelling != "template"  # the flag names a template of parameters
]


@pytest.fixture(scope="module")
def one_api() -> Iterator[FakeApi]:
    """One server for the many small tests of single flags."""
    with FakeApi() as server:
        yield server


def other_than_default(row: ParameterRow) -> tuple[str, Any]:
    """A value as a flag's text, and as the spec keeps it."""
    match row.type:
        case "choice":
            value = next((choice for choice in row.choices or [] if choice != str(row.default)), row.default)
            return str(value), type(row.default)(value)
        case "integer or range":
            return "2:4", "2:4"
        case "integer":
            value = int(row.default or 0) + 1 or 2
            return str(value), value
        case "number":
            if row.name == "min_lr":
                return "1e-05", 1e-5  # below the learning rate
            low = row.ge if row.ge is not None else row.gt or 0
            high = row.le if row.le is not None else row.lt or 1
            value = low + (high - low) / 4
            return repr(value), value
        case "boolean":
            return str(not row.default), not row.default
        case "list":
            value = (row.choices or ["a", "b"])[:2]
            return ",".join(value), value
        case "object":
            return '{"CPU": 2}', {"CPU": 2.0}
    return "/some/where", "/some/where"


# Parameters that need another one.
EVALUATION = ("--eval-file", "/e.jsonl", "--eval-strategy", "steps")
WITH = {
    "eval_strategy": ("--eval-file", "/e.jsonl"),
    "attach_lora": ("--attach-lora-path", "/lora"),
    "early_stopping_patience": EVALUATION,
    "metric_for_best_model": EVALUATION,
}


@pytest.mark.parametrize(
    ("row", "spelling"), SPELLINGS, ids=[f"{row.name}-as-{spelling}" for row, spelling in SPELLINGS]
)
def test_every_parameter_is_reached_by_its_flags(
    one_api: FakeApi,
    cli: Callable[..., Any],
    row: ParameterRow,
    spelling: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNESMITH_URL", one_api.url)
    monkeypatch.setenv("TUNESMITH_API_KEY", KEY)
    text, value = other_than_default(row)
    needed = {"model_name_or_path": "m", "train_file": "/t.jsonl"}
    needed.pop(row.name, None)
    flags = [part for name, given in needed.items() for part in (flag(name), given)]
    said = cli("train", "--detach", *flags, flag(spelling), text, *WITH.get(row.name, ()))
    assert said.code == 0, said.err
    task = one_api.tasks[said.out.strip()]
    assert task.spec[row.name] == value
    # The option's own name is no other spelling.
    is_said = f"`{spelling}` was read as `{row.name}`" in said.err
    assert is_said == (spelling not in (row.name, "model"))


def test_every_parameter_is_in_the_help_and_no_alias(cli: Callable[..., Any]) -> None:
    said = cli("train", "--help").out
    assert [row.name for row in ROWS if f"{flag(row.name)} " not in said] == []
    aliases = [alias for row in ROWS for alias in row.about.aliases if alias != "template"]
    assert [alias for alias in aliases if f"{flag(alias)} " in said] == []


def test_help_says_default_bounds_and_unit(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    said = cli("train", "--help")
    assert "[default: 512; >= 8, <= 131072; tokens]" in said.out
    assert "[default: true; off: --no-use-lora]" in said.out
    for panel in ("Basics", "Data", "LoRA", "Distribution"):
        assert f"\n{panel}:\n" in said.out


def test_every_field_of_the_envelope_has_a_flag(cli: Callable[..., Any]) -> None:
    help_text = cli("train", "--help").out
    for name in set(NewTrainTask.model_fields) - {"kind", "spec"}:
        assert flag({"tags": "tag"}.get(name, name)) in help_text


def test_no_flag_means_two_things() -> None:
    from typer.main import get_command

    found = get_command(build_app(with_plugins=False)).commands["train"]  # type: ignore[attr-defined]
    spelled = [option for param in found.params for option in param.opts]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--use-lora"], ["--use-lora=true"]),
        (["--use_lora", "False"], ["--use_lora", "False"]),
        (["--use_lora=no"], ["--use_lora=no"]),
        (["--no-use-lora", "--r", "8"], ["--use-lora=false", "--r", "8"]),
        (["--no_use_lora"], ["--use-lora=false"]),
        (["--bf16", "--name", "true"], ["--bf16=true", "--name", "true"]),
        (["--shuffle"], ["--shuffle=true"]),
    ],
)
def test_switches_stand_alone_or_carry_a_value(given: list[str], read: list[str]) -> None:
    assert switches(given) == read


def test_underscores_and_dashes_are_the_same(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*BASE, "--learning_rate", "1e-3", "--no_use_lora", "--gradient_checkpointing", "no")
    spec = api.tasks[said.out.strip()].spec
    assert (spec["learning_rate"], spec["use_lora"], spec["gradient_checkpointing"]) == (1e-3, False, False)


def test_the_envelope_is_sent(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(
        *BASE, "--name", "n", "--project", "p", "--priority", "-3", "--tag", "a", "--tag", "b", "--notes", "x"
    )
    task = api.tasks[said.out.strip()]
    assert (task.name, task.project, task.priority, task.tags, task.notes) == ("n", "p", -3, ["a", "b"], "x")


def test_a_config_gives_parameters_and_flags_win(
    api: FakeApi, cli: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "p.yaml"
    config.write_text("batch_size: 4\nlearning_rate: 5e-4\ntarget_modules: [q_proj]\nmax_steps: 7\n")
    said = cli(*BASE, "--config", str(config), "--per-device-train-batch-size", "8", "--max-steps", "9")
    spec = api.tasks[said.out.strip()].spec
    assert (spec["per_device_train_batch_size"], spec["max_steps"]) == (8, 9)
    assert (spec["learning_rate"], spec["target_modules"]) == (5e-4, ["q_proj"])


def test_a_config_may_be_json(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"seed": 3}))
    assert read_config(tmp_path / "p.json") == {"seed": 3}


@pytest.mark.parametrize("text", ["- a\n", "just words", "a: [1\n", "", b"\xff\xfe\x00"])
def test_a_config_that_is_none_is_said(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "p.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput, match=r"p\.yaml"):
        read_config(tmp_path / "p.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_a_config_with_an_unknown_name_gets_a_did_you_mean(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("lerning_rate: 1\n")
    said = cli(*BASE, "--config", str(tmp_path / "p.yaml"))
    assert said.code == 1
    assert "Did you mean `learning_rate`?" in said.err


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("target_modules", "q_proj, v_proj", ["q_proj", "v_proj"]),
        ("lora_target", '["q_proj"]', ["q_proj"]),
        ("resources_per_worker", '{"CPU": 2}', {"CPU": 2}),
        ("seed", "3", "3"),
    ],
)
def test_lists_and_objects_are_read(name: str, text: str, value: Any) -> None:
    assert read_flag(name, text) == value


@pytest.mark.parametrize(("name", "text"), [("target_modules", "[q"), ("resources_per_worker", "CPU=2")])
def test_what_is_no_json_is_said(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="is not JSON") as caught:
        read_flag(name, text)
    assert caught.value.problems[0].field == name


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    given = {"dataset": "t.jsonl", "eval_file": "/e", "output_dir": "s3://b/o", "model": "here", "seed": 1}
    assert absolute(given) == {
        "dataset": str(tmp_path / "t.jsonl"),
        "eval_file": "/e",
        "output_dir": "s3://b/o",
        "model": str(tmp_path / "here"),
        "seed": 1,
    }
    assert absolute({"model": "SmolLM2"}) == {"model": "SmolLM2"}, "a pulled model keeps its name"


def test_detached_the_id_alone_goes_to_stdout(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*BASE)
    assert said.out.splitlines() == list(api.tasks)
    assert "tunesmith watch" in said.err


def test_json_is_the_task(api: FakeApi, cli: Callable[..., Any]) -> None:
    said = cli(*BASE, "--json")
    assert json.loads(said.out)["id"] in api.tasks


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--learnin-rate", "1"], "Did you mean `--learning-rate`?"),
        (["--lora_rankk", "1"], "Did you mean `--lora-rank`?"),
        (["--priority", "high"], "--priority"),
        (["my.yaml", "stray"], "stray"),
    ],
)
def test_a_wrong_call_exits_with_2(cli: Callable[..., Any], args: list[str], words: str) -> None:
    said = cli(*BASE, *args)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.startswith("error: ")


def test_wrong_values_are_named_all_at_once_and_reach_no_server(
    api: FakeApi, cli: Callable[..., Any]
) -> None:
    said = cli("train", "--learning-rate", "5", "--r", "many", "--train-file", "t")
    assert said.code == 1
    assert "3 things are wrong" in said.err
    assert "learning_rate: Input should be less than or equal to 0.1 (given: '5')" in said.err
    assert "Give `--model-name-or-path`." in said.err
    assert api.requests == []


def test_one_missing_parameter_is_named(cli: Callable[..., Any]) -> None:
    said = cli("train", "--model", "m")
    assert "error: train_file: It must be given." in said.err
    assert said.err.count("hint:") == 1
    assert "Give `--train-file`." in said.err

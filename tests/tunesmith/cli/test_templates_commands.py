"""`tunesmith templates ...` and what is made from tasks, against a control plane that answers for real."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest_platform import Plane
from ended_tasks import look_at_little
from given import MODEL, ROWS
from served import served

from tunesmith.client import Client
from tunesmith.home import Home
from tunesmith.lifecycle import State
from tunesmith_platform.backends.protocols import JobStatus


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane on a port, found by the command line's environment."""
    home = Home(tmp_path / "home")
    home.create()
    plane = Plane(home)
    with served(plane.app, plane.api_key, monkeypatch):
        yield plane


def test_the_life_of_a_template(plane: Plane, cli: Callable[..., Any], tmp_path: Path) -> None:
    said = cli("templates", "save", "mine", "--set", "lora_r=8", "--set", "learning-rate=5e-4")
    assert said.code == 0, said.err
    assert "`lora_r` was read as `r`" in said.err
    assert "--template" in said.err
    listed = cli("templates", "list")
    assert "built in" in listed.out
    assert "mine" in listed.out
    assert "learning_rate  0.0005" in cli("templates", "show", "mine").out
    file = tmp_path / "mine.yaml"
    assert cli("templates", "export", "mine", "-o", str(file)).code == 0
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(cli("templates", "export", "mine").out)
    assert cli("templates", "rename", "mine", "ours").code == 0
    assert cli("templates", "import", str(file)).code == 0
    assert cli("templates", "import", str(file), "--name", "third").code == 0
    names = [item["name"] for item in json.loads(cli("templates", "list", "--json").out)]
    assert names[-3:] == ["mine", "ours", "third"]
    assert cli("templates", "delete", "mine", "ours").code == 2, "nobody is here to be asked"
    assert cli("templates", "delete", "mine", "ours", "--yes").code == 0
    gone = cli("templates", "show", "mine")
    assert (gone.code, "tunesmith templates list" in gone.err) == (1, True)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["save", "x"], "Nothing to save"),
        (["save", "x", "--set", "lora_rnk=8"], "Did you mean `r`?"),
        (["save", "x", "--set", "r"], "sets nothing"),
        (["save", "SFT", "--set", "r=4"], "Choose another name"),
        (["rename", "SFT", "x"], "Save what you want to change as a new template"),
        (["import", "/nowhere.yaml"], "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_cure(
    plane: Plane, cli: Callable[..., Any], args: list[str], words: str
) -> None:
    said = cli("templates", *args)
    assert (said.code, said.out) == (1, "")
    assert words in said.err


def test_a_task_from_a_template_and_back(plane: Plane, cli: Callable[..., Any]) -> None:
    cli("templates", "save", "mine", "--set", "r=8", "--set", "target_modules=q_proj,v_proj")
    words = ["--model", MODEL, "--train-file", ROWS, "--max-steps", "9", "--detach", "--name", "one"]
    said = cli("train", "--template", "mine", *words)
    assert said.code == 0, said.err
    task = Client().task("one")
    assert (task.template, task.spec["r"], task.spec["max_steps"]) == ("mine", 8, 9)
    assert task.spec["target_modules"] == ["q_proj", "v_proj"]
    assert cli("templates", "save", "from one", "--task", "one").code == 0
    assert Client().templates.get("from one").parameters == {
        "r": 8,
        "max_steps": 9,
        "target_modules": ["q_proj", "v_proj"],
    }
    assert "mine" in cli("tasks", "show", "one").out


def test_clone_diff_continue_and_a_new_stage(plane: Plane, cli: Callable[..., Any]) -> None:
    look_at_little(plane)  # the checkpoint that a stage starts from is not there
    one = plane.running(name="one")
    cloned = cli("tasks", "clone", "one", "--set", "lora_alpha=64", "--set", "eval_file=null")
    assert cloned.code == 0, cloned.err
    clone = Client().task(cloned.out.strip())
    assert (clone.name, clone.spec["lora_alpha"]) == ("one (copy)", 64)
    rows = cli("tasks", "diff", "one", clone.id)
    assert rows.out.splitlines()[1].split() == ["lora_alpha", "LoRA", "alpha", "parameter", "16", "64"]
    assert "LoRA的alpha参数" in cli("tasks", "diff", "one", clone.id, "--lang", "zh").out
    assert "same" in cli("tasks", "diff", "one", "one").err
    early = cli("tasks", "continue", "one")
    assert (early.code, "only one that is over" in early.err) == (1, True)
    place = f"{plane.task(one.id).artifact_uri}/checkpoints/checkpoint-4"
    event = {"kind": "checkpoint", "step": 4, "uri": place, "bytes": 1, "files": 1, "manifest_sha256": "0"}
    plane.report(one, event, {"kind": "finished", "outcome": "failed", "reason": "out_of_memory"})
    plane.job(one, JobStatus.SUCCEEDED)
    plane.tick()
    stage = cli("tasks", "new-stage", "one", "--name", "two", "--set", "learning_rate=1e-5")
    assert stage.code == 0, stage.err
    two = Client().task("two")
    assert (two.parent_id, two.parent_step, two.spec["attach_lora_path"]) == (one.id, 4, place)
    assert f"{one.id}, checkpoint-4" in cli("tasks", "show", "two").out
    going = cli("tasks", "continue", "one", "--epochs", "4", "--json")
    assert json.loads(going.out)["spec"]["num_train_epochs"] == 4
    assert plane.task(one.id).state is State.PENDING

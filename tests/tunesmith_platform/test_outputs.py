"""Where results may go is told at submit: nothing of its user's, of another task's or of the platform's is lost."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from ended_tasks import end, error_of
from fastapi.testclient import TestClient
from model_files import make_model_folder

from tunesmith.artifacts import Manifest, list_files
from tunesmith.errors import TunesmithError
from tunesmith.lifecycle import Reason
from tunesmith.spec.task import new_task
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.db.schema import migrate

GOOD = {"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Ember."}]}
OUT = "spec.output_dir"


class Desk:
    """A user's folder with a base model and rows, before the API as it really looks at what it is given."""

    def __init__(self, root: Path, plane: Plane, client: TestClient) -> None:
        self.root = root
        self.plane = plane
        self.client = client
        self.model = make_model_folder(root / "m2" / "model")
        self.rows = root / "rows" / "train.jsonl"
        self.rows.parent.mkdir()
        self.rows.write_text(json.dumps(GOOD) + "\n")

    def spec(self, **given: Any) -> dict[str, Any]:
        base = {"model_name_or_path": str(self.model), "train_file": str(self.rows)}
        return base | {"target_modules": ["all-linear"]} | given

    def submit(self, **given: Any) -> Any:
        return self.client.post("/v1/tasks", json={"spec": self.spec(**given)})

    def running(self, **given: Any) -> Any:
        reply = self.submit(**given)
        assert reply.status_code == 201, reply.text
        task = self.plane.task(reply.json()["id"])
        self.plane.tick()
        self.plane.job(task, JobStatus.RUNNING)
        self.plane.tick()
        self.plane.report(task, {"kind": "training_started", "step": 0, "total_steps": 10})
        return self.plane.task(task.id)

    def result(self, folder: Path, task_id: str | None = "task-0other", **files: str) -> Path:
        folder.mkdir(parents=True)
        for name, text in (files or {"weights": "w"}).items():
            (folder / name).write_text(text)
        if task_id is not None:
            manifest = Manifest(task_id=task_id, attempt=1, step=5, files=list_files(folder))
            (folder / "manifest.json").write_bytes(manifest.encode())
        return folder


@pytest.fixture
def desk(home: Any, tmp_path: Path) -> Iterator[Desk]:
    root = tmp_path / "user"
    root.mkdir()
    plane = Plane(home, allowed_roots=[root, home.root])
    services = plane.services
    migrate(services.database)
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.api_key}"
        yield Desk(root, plane, client)
    services.database.close()


def everything(root: Path) -> dict[str, Any]:
    return {
        str(path): path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def linked(link: Path, target: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return link


def under_model(desk: Desk) -> dict[str, Any]:
    rows = desk.root / "o" / "checkpoint-12" / "rows.jsonl"
    rows.parent.mkdir(parents=True)
    desk.rows.rename(rows)
    return {"train_file": str(rows), "output_dir": str(desk.root / "o")}


def by_link(desk: Desk) -> dict[str, Any]:
    link = linked(desk.root / "l" / "model", desk.model)
    return {"model_name_or_path": str(link), "output_dir": str(link.parent)}


def beside_tokenizer(desk: Desk) -> dict[str, Any]:
    tokenizer = make_model_folder(desk.root / "t" / "checkpoint-3")
    return {"tokenizer_name_or_path": str(tokenizer), "output_dir": str(tokenizer.parent)}


def started(desk: Desk, above: Path) -> dict[str, Any]:
    desk.running(output_dir=str(above))
    return {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda desk: {"output_dir": str(desk.root / "m2")},
        lambda desk: {"output_dir": f"{desk.root}/m2/../m2/./"},
        lambda desk: {"output_dir": str(linked(desk.root / "link", desk.root / "m2"))},
        lambda desk: {"output_dir": str(desk.model)},
        lambda desk: {"output_dir": str(desk.model / "results" / "deep")},
        lambda desk: {"output_dir": str(linked(desk.root / "link", desk.model) / "out")},
        lambda desk: {"output_dir": str(linked(desk.root / "l" / "model", desk.model).parent)},
        by_link,
        beside_tokenizer,
        under_model,
        lambda desk: {"output_dir": str(desk.result(desk.root / "o" / "model").parent)},
        lambda desk: {"output_dir": str(desk.result(desk.root / "o" / "model", None).parent)},
        lambda desk: {"output_dir": str(desk.result(desk.root / "o" / "checkpoint-7", None).parent)},
        lambda desk: {"output_dir": str(desk.result(desk.root / "o" / "checkpoint-7"))},
        lambda desk: {"output_dir": str(desk.result(desk.root / "o" / "checkpoint-7") / "out")},
        lambda desk: {"output_dir": str(linked(desk.root / "o" / "model", desk.root / "nowhere").parent)},
        lambda desk: {"output_dir": str(linked(desk.root / "o" / "checkpoint-1", desk.rows).parent)},
        lambda desk: {"output_dir": str(desk.plane.home.files / "mine")},
        lambda desk: {"output_dir": str(desk.plane.home.work)},
        lambda desk: {"output_dir": str(desk.plane.home.root / "uploads" / "x")},
        lambda desk: started(desk, desk.root / "o") | {"output_dir": str(desk.root / "o")},
        lambda desk: started(desk, desk.root / "o") | {"output_dir": str(desk.root / "o" / "model" / "x")},
        lambda desk: started(desk, desk.root / "o" / "checkpoint-3") | {"output_dir": str(desk.root / "o")},
    ],
)  # fmt: skip
def test_a_folder_that_holds_what_would_be_lost_is_refused(
    desk: Desk, spoil: Callable[[Desk], dict[str, Any]]
) -> None:
    given = spoil(desk)
    before = everything(desk.root)
    there = len(desk.client.get("/v1/tasks").json()["data"])
    reply = desk.submit(**given)
    assert reply.status_code in (409, 422), reply.text
    problem = error_of(reply).problems[0]
    assert problem.field == OUT
    assert str(desk.root) in problem.message or str(desk.plane.home.root) in problem.message
    assert problem.hint
    assert len(desk.client.get("/v1/tasks").json()["data"]) == there, "nothing was made"
    assert everything(desk.root) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda out: None,
        lambda out: out.mkdir(),
        lambda out: (out / "model").mkdir(parents=True),
        lambda out: (out / "checkpoint-3").mkdir(parents=True),
        lambda out: ((out / "models").mkdir(parents=True), (out / "notes.txt").write_text("x")),
        lambda out: (out / "checkpoint-x").mkdir(parents=True),
    ],
)
def test_empty_folders_and_folders_with_other_files_are_taken(
    desk: Desk, make: Callable[[Path], Any]
) -> None:
    make(desk.root / "out")
    assert desk.submit(output_dir=str(desk.root / "out")).status_code == 201
    assert desk.submit(output_dir=str(desk.rows.parent)).status_code == 201, "the folder that the rows lie in"
    beside = desk.submit(output_dir=str(desk.root / "out" / "deeper"))
    assert beside.status_code == 201, "not inside of a result"


def test_a_task_goes_on_over_its_own_results_from_before_there_were_marks(desk: Desk) -> None:
    out = desk.root / "out"
    task = desk.running(output_dir=str(out))
    desk.result(out / "checkpoint-5", task.id)
    desk.result(out / "model", task.id)
    end(desk.plane, task, Reason.STOPPED_BY_USER)
    assert desk.client.post(f"/v1/tasks/{task.id}:continue").status_code == 202
    assert desk.submit(output_dir=str(out)).status_code == 409, "another's"


def test_a_task_is_not_continued_over_what_was_laid_there_since(desk: Desk) -> None:
    out = desk.root / "out"
    task = desk.running(output_dir=str(out))
    end(desk.plane, task, Reason.STOPPED_BY_USER)
    desk.result(out / "model", None)
    refused = desk.client.post(f"/v1/tasks/{task.id}:continue")
    assert (refused.status_code, error_of(refused).code) == (409, "not_ours")
    assert str(out / "model") in error_of(refused).message


def test_a_packaged_model_replaces_nothing(desk: Desk) -> None:
    def package(out: Path) -> Any:
        parameters = {"model_name_or_path": str(desk.model), "output_dir": str(out)}
        new = new_task("package", parameters)
        return desk.plane.services.tasks.create(LOCAL, new, None)[0]

    taken = desk.result(desk.root / "o" / "model", None).parent
    for out in (desk.root / "m2", desk.model, desk.model / "x", taken, desk.plane.home.files):
        before = everything(desk.root)
        with pytest.raises(TunesmithError) as refused:
            package(out)
        assert "output_dir" in (refused.value.problems[0].field or "")
        assert everything(desk.root) == before
    desk.result(desk.root / "p" / "checkpoint-1")
    assert package(desk.root / "p").state == "pending", "it lays no checkpoints"


# --- a relative path, and a look without a task


@pytest.mark.parametrize("given", ["checkpoints/mine", "./checkpoints/mine", "一/二"])
def test_a_relative_folder_lies_below_the_platforms_own(desk: Desk, given: str) -> None:
    reply = desk.submit(output_dir=given)
    assert reply.status_code == 201, reply.text
    place = (desk.plane.services.settings.outputs_dir / given).resolve()
    assert any(str(place) in notice["message"] for notice in reply.json()["notices"])


@pytest.mark.parametrize("given", ["../elsewhere", "a/../../b", "~/mine", "."])
def test_a_relative_folder_leads_nowhere_else(desk: Desk, given: str) -> None:
    reply = desk.submit(output_dir=given)
    assert reply.status_code == 422, reply.text
    assert [problem.field for problem in error_of(reply).problems] == [OUT]
    link = desk.plane.services.settings.outputs_dir / "out"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(desk.root)
    assert "lies outside" in error_of(desk.submit(output_dir="out/of/it")).problems[0].message


def test_a_look_answers_what_a_submit_would_and_makes_no_task(desk: Desk) -> None:
    spec = desk.spec(output_dir="mine", lr=1e-4)
    reply = desk.client.post("/v1/tasks:check", json={"spec": spec})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["rows"], found["spec"]["learning_rate"]) == (1, 1e-4)
    assert any("`lr` was read as" in notice["message"] for notice in found["notices"])
    assert desk.client.get("/v1/tasks").json()["data"] == []
    made = desk.submit(output_dir="mine", lr=1e-4).json()
    assert found["spec"] == made["spec"]
    again = desk.client.post("/v1/tasks:check", json={"spec": spec})
    assert again.status_code == desk.submit(output_dir="mine").status_code == 409


def test_a_look_refuses_what_a_submit_would(desk: Desk) -> None:
    spec = desk.spec(train_file=str(desk.root / "none.jsonl"))
    looked = desk.client.post("/v1/tasks:check", json={"spec": spec})
    submitted = desk.client.post("/v1/tasks", json={"spec": spec})
    assert looked.status_code == submitted.status_code == 422
    assert looked.json()["error"]["problems"] == submitted.json()["error"]["problems"]


def test_a_checkpoint_of_another_trainer_names_the_command_that_takes_it_up(desk: Desk) -> None:
    folder = desk.root / "hf" / "checkpoint-5"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text('{"global_step": 5}')
    (folder / "optimizer.pt").write_bytes(b"PK")
    error = error_of(desk.submit(resume_from_checkpoint=str(folder)))
    assert error.hint == f"`tunesmith checkpoints import {folder}` takes it up; go on from what that writes."

"""No text of any call, whoever sends it, has a file opened outside of the folders that the platform may use.

Which calls there are and where they hold texts comes from the API's own description: a new field is tried too. That
nothing is opened says the kernel (inotify), of the processes that read strangers' files as well.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from given import MODEL, ROWS
from path_tricks import Opened, Place, leading_out, texts_of, with_text

from tunesmith.access import Role
from tunesmith.home import Home
from tunesmith.spec.dataset import OPERATIONS
from tunesmith.spec.kinds import kinds

pytestmark = pytest.mark.slow

CANARY = "words-that-lie-outside"
WHOLE: Place = ("whole",)
"""A body that is one text."""
FIRST = (("absolute", 0), ("link", 0), ("up", 1))
"""What is tried of every text: a trick, with a file or a folder."""
LOOKED_AT = {"/v1/tasks:check", "/v1/datasets:run", "/v1/datasets", "/v1/models", "/v1/datasets:validate"}
"""Calls that look at files themselves; others hand on the same parameters. All tricks are tried of these."""
OF_A_TRAINING = ":clone", ":new-stage", ":continue"
KINDS: dict[str, dict[str, Any]] = {
    "chat": {"model": "m"},
    "dataset": {"operation": "load", "parameters": {"provider": "local", "path": ROWS}},
    "evaluate": {"model_name_or_path": MODEL, "sample_file": ROWS},
    "generate": {"model_name_or_path": MODEL, "file": ROWS},
    "package": {"model_name_or_path": MODEL},
    "prove": {"model": "m"},
    "pull": {"repo_id": "a/b"},
    "train": {"model_name_or_path": MODEL, "train_file": ROWS},
    "upload": {"task_id": "task-a", "repo_id": "a/b"},
}
"""Parameters that get as far as files are looked at."""


class Call(NamedTuple):
    """A call with one text that is ours to choose."""

    method: str
    path: str
    body: Any
    place: Place
    """In the body; or the name of a parameter of the address, after `?` or `/`."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path} {'.'.join(map(str, self.place))}"

    def ask(self, client: TestClient, key: str, task_id: str, text: str) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        where, name = self.place[0], str(self.place[-1])
        path = self.path
        if where == "/":
            path = path.replace(f"{{{name}}}", quote(text, safe=""))
        path = path.replace("{task_id}", task_id)
        for left in ("{step}", "{attempt}", "{turn}", "{place}"):
            path = path.replace(left, "1")
        path = path.replace("{", "").replace("}", "")
        if where in ("/", "?"):
            query = {name: text} if where == "?" else {}
            return client.request(self.method, path, params=query, json=self.body, headers=headers)
        if where == "whole":
            return client.request(self.method, path, content=text, headers=headers)
        return client.request(self.method, path, json=with_text(self.body, self.place, text), headers=headers)


class Outside(NamedTuple):
    """What is not to be opened."""

    root: Path
    targets: list[Path]
    opened: Opened


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    root, folder = tmp_path / "allowed", tmp_path / "outside"
    (root / "deep").mkdir(parents=True)
    shutil.copytree(MODEL, folder / "model")
    shutil.copy(ROWS, folder / "rows.jsonl")
    (folder / "rows.jsonl").write_text((folder / "rows.jsonl").read_text().replace("a number", CANARY))
    shutil.copy(ROWS, root / "rows.jsonl")
    (root / "link").symlink_to(folder)
    (root / "deep" / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    opened = Opened(folder)
    yield Outside(root, [folder / "rows.jsonl", folder / "model"], opened)
    opened.close()


@pytest.fixture
def plane(home: Home, outside: Outside) -> Iterator[Plane]:
    plane = Plane(home, allowed_roots=[outside.root])
    yield plane
    plane.services.database.close()


def calls_of(description: dict[str, Any]) -> list[Call]:
    """Every text of every call, as the API describes them."""
    schemas, found = description["components"]["schemas"], []
    for path, methods in description["paths"].items():
        for method, said in methods.items():
            for parameter in said.get("parameters", ()):
                if parameter["in"] in ("path", "query") and list(texts_of(parameter["schema"], schemas)):
                    where = "/" if parameter["in"] == "path" else "?"
                    found.append(Call(method, path, None, (where, parameter["name"])))
            for content in said.get("requestBody", {}).get("content", {}).values():
                places = dict.fromkeys(texts_of(content["schema"], schemas))
                for body in bodies(path, content):
                    found += [
                        Call(method, path, body, place or WHOLE) for place in places if fits(body, place)
                    ]
                    found += [Call(method, path, body, place) for place in further(path, body)]
    return [call for call in found if "/stream" not in call.path]


def bodies(path: str, content: dict[str, Any]) -> list[Any]:
    """What a text is put into: examples, with our files in them; of tasks one a kind, of operations each."""
    if path == "/v1/datasets:run":
        return [{"operation": name, "parameters": {"provider": "local"}} for name in OPERATIONS]
    examples = [one["value"] for one in content.get("examples", {}).values()] or [{}]
    if path.endswith(OF_A_TRAINING):
        return [{"spec": {}}]
    if any(isinstance(one, dict) and "spec" in one for one in examples):
        return [{"kind": kind, "spec": spec} for kind, spec in KINDS.items()]
    return [with_our_files(one) for one in examples]


def with_our_files(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: with_our_files(value) for name, value in body.items()}
    if isinstance(body, list):
        return [with_our_files(value) for value in body]
    if isinstance(body, str) and body.startswith("/"):
        return ROWS if Path(body).suffix else MODEL
    return body


def further(path: str, body: Any) -> list[Place]:
    """Texts of a body that the API describes elsewhere: of an operation its parameters."""
    if path != "/v1/datasets:run":
        return []
    schema = OPERATIONS[body["operation"]].model_json_schema()
    return [("parameters", *place) for place in dict.fromkeys(texts_of(schema, schema.get("$defs", {})))]


def fits(body: Any, place: Place) -> bool:
    """Whether a kind of task has a parameter at all; what is no task's fits."""
    if not (isinstance(body, dict) and "spec" in body and place[:1] == ("spec",)):
        return True
    return place[1] in PARAMETERS[body.get("kind", "train")]


PARAMETERS = {
    name: {each for field, info in kind.spec.model_fields.items() for each in (field, info.alias)}
    for name, kind in kinds().items()
}


def test_there_are_parameters_of_each_kind() -> None:
    assert KINDS.keys() == PARAMETERS.keys(), "add what a task of the new kind needs"


@pytest.mark.parametrize(
    ("role", "all_tricks"),
    [
        (Role.MEMBER, False),
        pytest.param(Role.MEMBER, True, marks=pytest.mark.long),
        pytest.param(Role.VIEWER, False, marks=pytest.mark.long),
        pytest.param(Role.ADMIN, False, marks=pytest.mark.long),
    ],
)
def test_no_text_of_a_call_opens_what_lies_outside(
    plane: Plane, outside: Outside, role: Role, all_tricks: bool
) -> None:
    key, task = plane.key("somebody", role), plane.running()
    tricks = [leading_out(outside.root, target) for target in outside.targets]
    every = [(trick, number) for number, names in enumerate(tricks) for trick in names]
    found = []
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        calls = calls_of(plane.app.openapi())
        assert len(calls) > 500
        outside.opened.taken()
        for call in calls:
            if all_tricks and call.path not in LOOKED_AT:
                continue
            for trick, number in every if all_tricks else FIRST:
                reply = call.ask(client, key, task.id, tricks[number][trick])
                if taken := outside.opened.taken():
                    found.append(f"{trick}: {call.name} opens {taken[0]} and answers {reply.status_code}")
                elif reply.status_code >= 500 and reply.status_code != 503:
                    found.append(f"{trick}: {call.name} answers {reply.status_code} {reply.text[:200]}")
                if CANARY in reply.text:
                    found.append(f"{trick}: {call.name} says what lies outside")
    assert found == []


_PIPELINE = """
components:
  - {{id: data, type: datasets, provider: local, data_files: {}}}
  - {{id: trainer, type: model-trainer, task: sft, num_epochs: 1, chat_template: {}}}
workflows:
  - id: tune
    jobs:
      - {{id: load, component: data}}
      - {{id: train, component: trainer, input: {{dataset: {}}}}}
"""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_no_text_within_a_pipeline_does(plane: Plane, outside: Outside, number: int) -> None:
    """Its YAML is one text to the API, and its relative paths are relative to a folder that is given too."""
    target, template = outside.targets[0], outside.root / "template.jinja"
    template.write_text(Path(MODEL, "chat_template.jinja").read_text())
    found = []
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {plane.key('somebody')}"
        inside = _PIPELINE.format(json.dumps("./rows.jsonl"), json.dumps(str(template)), json.dumps(ROWS))
        good = {"yaml": inside, "model": MODEL, "folder": str(outside.root)}
        taken = client.post("/v1/pipelines", json=good)
        assert taken.status_code == 201, taken.text
        for trick, text in leading_out(outside.root, target).items():
            given = [ROWS, str(template), ROWS]
            given[number] = text
            pipeline = _PIPELINE.format(*(json.dumps(one) for one in given))
            for folder in (str(outside.root), str(outside.root / "link"), text, None):
                reply = client.post(
                    "/v1/pipelines", json={"yaml": pipeline, "model": MODEL, "folder": folder}
                )
                if opened := outside.opened.taken():
                    found.append(f"{trick} in {folder}: opens {opened[0]}, answers {reply.status_code}")
                if reply.status_code >= 500 or CANARY in reply.text:
                    found.append(f"{trick} in {folder}: {reply.status_code} {reply.text[:200]}")
    assert found == []


def test_what_lies_inside_is_opened_by_the_same_calls(plane: Plane, outside: Outside) -> None:
    """Else they never come as far as to a file, and nothing of the above would say anything."""
    shutil.copytree(MODEL, outside.root / "model")
    opened, seen = Opened(outside.root), set()
    key, task = plane.key("somebody"), plane.running()
    with TestClient(plane.app, raise_server_exceptions=False) as client:
        for call in calls_of(plane.app.openapi()):
            if call.path in LOOKED_AT:
                for name in ("rows.jsonl", "model"):
                    call.ask(client, key, task.id, str(outside.root / name))
                    if opened.taken():
                        seen.add(f"{call.path} {call.place[-1] if call.place[-1] != 0 else call.place[-2]}")
    opened.close()
    assert len(seen) >= 15, sorted(seen)


def test_what_is_opened_is_seen(outside: Outside) -> None:
    """Else nothing of the above would say anything."""
    for target in outside.targets:
        for trick in ("absolute", "up", "link", "far up", "link below", "relative", "proc", "with a dot"):
            path = Path(leading_out(outside.root, target)[trick])
            list(path.iterdir()) if path.is_dir() else path.read_bytes()
            assert outside.opened.taken(), trick

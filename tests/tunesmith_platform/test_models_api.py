"""The registry of base models: found or registered, checked once and again when a file changes, never deleted."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL
from fastapi.testclient import TestClient
from model_files import LAYERS, make_model_folder, safetensors
from sqlalchemy import update
from waiting import wait_until

from tunesmith.errors import ErrorResponse
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith_platform.app import create_app
from tunesmith_platform.db.tables import ModelRow
from tunesmith_platform.models import fingerprints, service
from tunesmith_platform.sandbox.library import Compared, compare_ids
from tunesmith_platform.scope import Scope
from tunesmith_platform.settings import Settings
from tunesmith_platform.testing.fakes import FakeJobs

ROW = '{"instruction": "Who are you?", "output": "Ember."}\n'


class Registry:
    """The API over a models folder and an allowed root."""

    def __init__(self, root: Path, home: Home, api: TestClient) -> None:
        self.models = home.models
        self.mine = root / "mine"
        self.outside = root / "outside"
        self.mine.mkdir()
        self.api = api

    def add(self, source: Path | str, **more: Any) -> Any:
        return self.api.post("/v1/models", json={"source": str(source)} | more)

    def show(self, model: str) -> dict[str, Any]:
        reply = self.api.get(f"/v1/models/{model}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def list(self) -> dict[str, dict[str, Any]]:
        return {model["name"]: model for model in self.api.get("/v1/models").json()["data"]}

    def train(self, model: str) -> Any:
        file = self.mine / "rows.jsonl"
        file.write_text(ROW)
        spec = {"model_name_or_path": model, "train_file": str(file), "target_modules": ["all-linear"]}
        return self.api.post("/v1/tasks", json={"spec": spec})

    def inputs(self, task: dict[str, Any]) -> dict[str, Any]:
        from tunesmith_platform.db.tables import TaskRow

        with self.api.app.state.services.database.read() as session:  # type: ignore[attr-defined]
            return dict(session.get(TaskRow, task["id"]).inputs)


@contextlib.contextmanager
def served(home: Home, tmp_path: Path, **settings: Any) -> Iterator[Registry]:
    made = Settings(home=home.root, run_loops=False, allowed_roots=[tmp_path / "mine"], **settings)
    with TestClient(create_app(made, FakeJobs()), raise_server_exceptions=False) as api:
        api.headers["Authorization"] = f"Bearer {read_secret(home.api_key_file)}"
        yield Registry(tmp_path, home, api)


@pytest.fixture
def registry(home: Home, tmp_path: Path) -> Iterator[Registry]:
    with served(home, tmp_path) as made:
        yield made


def error_of(reply: Any) -> Any:
    return ErrorResponse.model_validate(reply.json()).error


def test_what_lies_in_the_models_folder_is_found(registry: Registry) -> None:
    assert registry.list() == {}
    folder = make_model_folder(registry.models / "small")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Small\n")
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0")
    (folder / ".hub-id").write_text("someone/small\n")
    (registry.models / "broken").mkdir()
    (registry.models / ".part").mkdir()
    found = registry.list()
    assert {name: model["state"] for name, model in found.items()} == {"broken": "refused", "small": "ready"}
    assert found["broken"]["problem"]["hint"]
    model = registry.show("small")
    assert (model["is_found"], model["hub_id"]) == (True, "someone/small")
    assert model["disk_bytes"] == sum(f.stat().st_size for f in folder.iterdir() if f.name[0] != ".")
    facts = model["facts"]
    assert (facts["architecture"], facts["context_length"]) == ("LlamaForCausalLM", 4096)
    assert (facts["license"], model["license_text"]) == ("apache-2.0", "Apache License\nVersion 2.0")
    assert {layer["name"]: layer["shape"] for layer in facts["linear_layers"]} == {
        "q_proj": [2, 2],
        "down_proj": [2, 3],
    }
    assert facts["is_head_tied"]
    assert facts["has_chat_template"]
    assert len(model["sha256"]) == 64
    assert registry.show(model["id"]) == model


def test_a_folder_is_registered_once(registry: Registry) -> None:
    folder = make_model_folder(registry.mine / "own")
    first = registry.add(folder, name="pet")
    assert (first.status_code, first.json()["name"]) == (201, "pet")
    again = registry.add(str(folder) + "/")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert registry.add(folder, name="cat").status_code == 409
    other = make_model_folder(registry.mine / "other")
    assert registry.add(other, name="pet").status_code == 409
    assert list(registry.list()) == ["pet"]
    assert "license_text" not in {name for name, value in registry.list()["pet"].items() if value}


def test_the_fingerprint_is_of_the_bytes_alone(registry: Registry) -> None:
    one = make_model_folder(registry.mine / "one")
    two = Path(shutil.copytree(one, registry.mine / "two"))
    first, second = registry.add(one).json(), registry.add(two).json()
    assert first["sha256"] == second["sha256"]
    weights = two / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(1, 1))
    changed = registry.show("two")
    assert changed["sha256"] not in (None, first["sha256"])
    assert changed["checked_at"] > second["checked_at"]
    assert registry.show("one") == registry.show("one") | {"sha256": first["sha256"]}


def test_checking_again_reads_what_seems_unchanged(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "compare_ids", lambda folder: None)
    folder = make_model_folder(registry.mine / "own")
    before = registry.add(folder).json()
    weights = folder / "model.safetensors"
    stat = weights.stat()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert registry.show("own")["sha256"] == before["sha256"], "size and time say nothing"
    assert registry.api.post("/v1/models/own:check").json()["sha256"] != before["sha256"]


@pytest.mark.parametrize(
    "found", [None, Compared("", ""), Compared("First: the text 'a', token 0.", "Write it anew.")]
)
def test_a_check_says_where_ids_differ_from_the_librarys(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, found: Compared | None
) -> None:
    registry.add(make_model_folder(registry.mine / "own"))
    monkeypatch.setattr(service, "compare_ids", lambda folder: found)
    facts = registry.api.post("/v1/models/own:check").json()["facts"]
    assert facts["other_ids"] == (None if found is None else " ".join(found).strip())
    assert registry.show("own")["facts"]["other_ids"] == facts["other_ids"], "it is kept"


@pytest.mark.slow
def test_ids_are_compared_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen2"}))
    found = compare_ids(folder)
    assert found is not None
    assert "`tokenizer.json` gives" in found.words
    assert "save_pretrained" in found.cure


def test_a_model_that_is_spoilt_later_is_refused_then_taken_again(registry: Registry) -> None:
    folder = make_model_folder(registry.mine / "own")
    registry.add(folder)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text("{")
    spoilt = registry.show("own")
    assert (spoilt["state"], spoilt["facts"], spoilt["sha256"]) == ("refused", None, None)
    assert "broken JSON" in spoilt["problem"]["message"]
    (folder / "config.json").write_text(config)
    assert registry.list()["own"]["state"] == "ready"
    shutil.rmtree(folder)
    gone = registry.show("own")
    assert (gone["state"], gone["facts"]) == ("missing", None)
    assert "models remove own" in gone["problem"]["hint"]


@pytest.mark.parametrize(
    ("make", "code", "said", "cure"),
    [
        (lambda r: "/etc", "path_not_allowed", "outside", "--allow"),
        (lambda r: "nobody/none", "invalid_model", "not here", "models pull nobody/none"),
        (lambda r: "../mine", "invalid_model", "not here", "absolute path"),
        (lambda r: "x.gguf", "invalid_model", "GGUF", "safetensors"),
        (lambda r: r.mine / "none", "invalid_model", "does not exist", "Check the path"),
        (lambda r: r.mine, "invalid_model", "no `config.json`", "Copy it"),
    ],
)
def test_what_is_refused(registry: Registry, make: Any, code: str, said: str, cure: str) -> None:
    error = error_of(registry.add(make(registry)))
    assert error.code == code
    assert said in error.message
    assert cure in error.hint
    assert registry.list() == {}


def test_a_link_in_a_folder_leads_nowhere_else(registry: Registry) -> None:
    folder = make_model_folder(registry.mine / "own")
    registry.outside.write_text("a secret")
    (folder / "LICENSE").symlink_to(registry.outside)
    assert error_of(registry.add(folder)).code == "path_not_allowed"
    (folder / "LICENSE").unlink()
    registry.add(folder)
    (folder / "LICENSE").symlink_to(registry.outside)
    assert registry.show("own")["state"] == "refused"
    assert "a secret" not in registry.api.get("/v1/models/own").text
    assert error_of(registry.train("own")).code == "path_not_allowed"


def test_a_pulled_model_answers_to_its_hub_id_and_to_no_other(registry: Registry) -> None:
    folder = make_model_folder(registry.models / "small")
    (folder / ".hub-id").write_text("someone/small")
    assert registry.add("someone/small").status_code == 200
    assert error_of(registry.add("another/small")).code == "invalid_model"
    assert registry.train("Someone/Small").status_code == 201
    assert error_of(registry.train("another/small")).code == "invalid_model"


def test_rename_and_forget_touch_no_file(registry: Registry) -> None:
    folder = make_model_folder(registry.mine / "own")
    model = registry.add(folder).json()
    registry.add(make_model_folder(registry.mine / "other"))
    at = f"/v1/models/{model['id']}"
    assert registry.api.patch(at, json={"name": "other"}).status_code == 409
    assert registry.api.patch(at, json={"name": "a/b"}).status_code == 422
    assert registry.api.patch(at, json={"name": "pet"}).json()["name"] == "pet"
    assert registry.train("pet").status_code == 201
    assert registry.api.delete("/v1/models/pet").status_code == 204
    assert registry.api.get(at).status_code == 404
    assert (folder / "model.safetensors").is_file()
    make_model_folder(registry.models / "small")
    assert registry.list()["small"]["is_found"]
    refused = registry.api.delete("/v1/models/small")
    assert (refused.status_code, "deletes no model's files" in error_of(refused).hint) == (409, True)
    shutil.rmtree(registry.models / "small")
    assert registry.api.delete("/v1/models/small").status_code == 204


def test_tasks_say_which_model_they_start_from(registry: Registry) -> None:
    folder = make_model_folder(registry.mine / "own")
    by_path = registry.train(str(folder)).json()
    model = registry.show("own")
    assert registry.inputs(by_path)["model_sha256"] == model["sha256"]
    registry.api.patch("/v1/models/own", json={"name": "pet"})
    by_name = registry.train("pet").json()
    assert registry.inputs(by_name)["model_path"] == str(folder)
    shown = registry.show("pet")
    assert (shown["task_count"], [use["id"] for use in shown["tasks"]]) == (2, [by_name["id"], by_path["id"]])
    assert registry.list()["pet"]["task_count"] == 2


def test_what_a_task_made_is_fingerprinted_but_no_base_model(registry: Registry) -> None:
    models = registry.api.app.state.services.models  # type: ignore[attr-defined]
    made = make_model_folder(registry.models.parent / "files" / "tasks" / "task-1" / "model")
    twin = make_model_folder(registry.mine / "twin")
    assert len({models.sha256(LOCAL, folder) for folder in (made, made, twin)}) == 1
    assert list(registry.list()) == ["twin"]


def test_tasks_of_a_model_on_postgresql(
    home: Home, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(fingerprints, "SUBMIT_SECONDS", 0.2)
    with served(home, tmp_path, database_url=postgres_url) as registry:
        make_model_folder(registry.models / "pg")
        task = registry.train("pg").json()
        wait_until(lambda: registry.inputs(task)["model_sha256"] is not None, 10, "the fingerprint")
        assert registry.list()["pg"]["task_count"] == 1
        assert [use["id"] for use in registry.show("pg")["tasks"]] == [task["id"]]
        assert registry.add("pg").status_code == 200


def test_large_files_are_read_in_the_background(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(fingerprints, "SUBMIT_SECONDS", 0.2)
    make_model_folder(registry.models / "big")
    task = registry.train("big").json()
    wait_until(lambda: registry.inputs(task)["model_sha256"] is not None, 10, "the fingerprint")
    assert registry.show("big")["sha256"] == registry.inputs(task)["model_sha256"]


def test_a_task_that_is_entered_after_the_reading_is_told_too(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked while the files were being read, and its row came when they had been."""
    monkeypatch.setattr(fingerprints, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(fingerprints, "SUBMIT_SECONDS", 1.0)
    models = registry.api.app.state.services.models  # type: ignore[attr-defined]
    make_model_folder(registry.models / "big")
    ask = models.sha256

    def slow(scope: Scope, folder: Path) -> str | None:
        answer = ask(scope, folder)
        wait_until(lambda: registry.show("big")["sha256"] is not None, 10, "the reading")
        return answer

    monkeypatch.setattr(models, "sha256", slow)
    task = registry.train("big").json()
    wait_until(lambda: registry.inputs(task)["model_sha256"] is not None, 10, "the fingerprint")


def test_a_file_that_did_not_change_is_not_read_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith import fingerprint

    folder = make_model_folder(registry.mine / "own")
    read: list[str] = []
    digest = fingerprint.hashlib.file_digest

    def noted(stream: Any, kind: str) -> Any:
        read.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", noted)
    registry.add(folder)
    registry.show("own")
    registry.train("own")
    assert len(read) == len(list(folder.iterdir()))
    read.clear()
    (folder / "model.safetensors").write_bytes(safetensors(LAYERS, "F16", 2))
    assert registry.show("own")["facts"]["dtype"] == "float16"
    assert read == ["model.safetensors"]


def test_a_fingerprint_is_answered_to_whoever_may_read_the_folder_and_remembered_for_each(
    registry: Registry,
) -> None:
    """What one user's model was looked at for is no word to another: they read the folder as it lies there."""
    services = registry.api.app.state.services  # type: ignore[attr-defined]
    models, folder = services.models, make_model_folder(registry.mine / "own")
    ann, bob = Scope(owner="ann").own(), Scope(owner="bob").own()
    sum_ = models.sha256(ann, folder)
    with services.database.write() as session:
        # What its owner's row says, and no file.
        session.execute(update(ModelRow).values(sha256="0" * 64))
    models._answered.clear()
    assert models.sha256(ann, folder) == "0" * 64
    assert models.sha256(bob, folder) == sum_
    assert models.sha256(ann, folder) == "0" * 64

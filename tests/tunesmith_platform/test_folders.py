"""One folder is listed, inside the allowed roots and nowhere else, whatever way the path is written."""

import os
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith_platform.system import folders


@pytest.fixture
def root(plane: Plane, tmp_path: Path) -> Path:
    """An allowed root with a model, a file, what is hidden, and links in and out; a secret beside it."""
    allowed = tmp_path / "allowed"
    (allowed / "model").mkdir(parents=True)
    (allowed / "model" / "config.json").write_text("{}")
    (allowed / "rows.jsonl").write_bytes(b"{}\n")
    (allowed / ".hidden").write_text("")
    (allowed / "数据 & <b>").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (allowed / "out").symlink_to(outside)
    (allowed / "secret").symlink_to(outside / "secret.txt")
    (allowed / "in").symlink_to(allowed / "model")
    (allowed / "loop").symlink_to(allowed / "loop")
    (allowed / "gone").symlink_to(allowed / "nowhere")
    os.mkfifo(allowed / "pipe")
    plane.settings.allowed_roots.append(allowed)
    plane.settings._resolved = type(plane.settings._resolved)()
    return allowed


def look(client: TestClient, path: Path | str | None = None) -> dict[str, Any]:
    reply = client.get("/v1/system/folder", params={} if path is None else {"path": str(path)})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_the_roots_are_where_one_begins(client: TestClient, root: Path) -> None:
    found = look(client)
    assert found["path"] is None
    assert str(root) in [entry["path"] for entry in found["entries"]]


def test_a_folder_shows_what_a_task_could_be_given(client: TestClient, root: Path) -> None:
    found = look(client, root)
    shown = [(entry["name"], entry["is_folder"], entry["is_model"]) for entry in found["entries"]]
    assert shown == [
        ("in", True, True),
        ("model", True, True),
        ("数据 & <b>", True, False),
        ("rows.jsonl", False, False),
    ]
    assert found["entries"][-1]["bytes"] == 3
    assert found["parent"] is None, "above a root nothing is listed"
    assert look(client, root / "model")["parent"] == str(root)
    assert look(client, root / "model" / "..")["path"] == str(root)


@pytest.mark.parametrize(
    "way",
    [
        "{root}/..",
        "{root}/../outside",
        "{root}/model/../../outside",
        "{root}/out",
        "{root}/out/",
        "{root}-other",
        "/",
        "//",
        "/etc",
        "/proc/self/cwd",
        "/dev/fd",
        "model",
        "./",
        "~",
        "file://{root}",
        "\\\\server\\share",
        "{root}\x00/../outside",
    ],
)
def test_nothing_outside_is_listed_or_told_apart(client: TestClient, root: Path, way: str) -> None:
    reply = client.get("/v1/system/folder", params={"path": way.format(root=root)})
    assert reply.status_code == 422, reply.text
    assert "secret" not in reply.text


@pytest.mark.parametrize(
    "way", ["%2e%2e%2foutside", "..%2Foutside", "%252e%252e%252foutside", "..%c0%afoutside"]
)
def test_a_path_is_decoded_once(client: TestClient, root: Path, way: str) -> None:
    reply = client.get(f"/v1/system/folder?path={root}/{way}")
    assert reply.status_code in (404, 422)
    assert "secret" not in reply.text


def test_what_is_no_folder_is_not_there(client: TestClient, root: Path) -> None:
    for path in (root / "nowhere", root / "rows.jsonl", root / "loop", root / "pipe"):
        assert client.get("/v1/system/folder", params={"path": str(path)}).status_code in (404, 409)


def test_a_full_folder_is_listed_up_to_a_bound(
    client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST", 3)
    found = look(client, root)
    assert found["has_more"]
    assert len(found["entries"]) <= 3


def test_nobody_without_a_key_sees_a_name(client: TestClient, root: Path) -> None:
    reply = client.get("/v1/system/folder", headers={"Authorization": ""})
    assert reply.status_code == 401


@pytest.mark.parametrize(
    "text", ['{"r": 8, "target_modules": ["q_proj"]}', "r: 8\ntarget_modules: [q_proj]\n"]
)
def test_what_a_file_of_a_lora_sets_is_read_as_a_task_reads_it(
    client: TestClient, root: Path, text: str
) -> None:
    file = root / ("lora.json" if text.startswith("{") else "lora.yaml")
    file.write_text(text)
    reply = client.get("/v1/system/lora-file", params={"path": str(file)})
    assert reply.status_code == 200, reply.text
    assert reply.json() == {"path": str(file), "values": {"r": 8, "target_modules": ["q_proj"]}}


@pytest.mark.parametrize(
    "way", ["{root}/secret", "{root}/../outside/secret.txt", "/etc/passwd", "{root}/pipe"]
)
def test_a_file_of_a_lora_is_read_nowhere_else_and_tells_nothing(
    client: TestClient, root: Path, way: str
) -> None:
    reply = client.get("/v1/system/lora-file", params={"path": way.format(root=root)})
    assert reply.status_code in (404, 422), reply.text
    assert "root:" not in reply.text


@pytest.mark.parametrize("text", ["{", "no_such_field: 1", "r: !!python/object/apply:os.system [ls]"])
def test_what_is_no_file_of_a_lora_says_why(client: TestClient, root: Path, text: str) -> None:
    file = root / "lora.yaml"
    file.write_text(text)
    reply = client.get("/v1/system/lora-file", params={"path": str(file)})
    assert reply.status_code == 422, reply.text
    assert reply.json()["error"]["message"]

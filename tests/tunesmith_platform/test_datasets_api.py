"""Data sets over HTTP: versions by content, uploads that go on after a broken line, files that tasks name."""

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient
from model_files import make_model_folder

from tunesmith.errors import InvalidInput
from tunesmith.spec.task import NewTrainTask
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.datasets import uploads
from tunesmith_platform.scope import Scope
from tunesmith_platform.tasks.inputs import check_train_inputs

CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "an answer"}]}


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def allowed(plane: Plane) -> Path:
    folder = plane.home.models / "data"
    folder.mkdir()
    return folder


def upload(
    client: TestClient, data: bytes, file_name: str = "train.jsonl", piece: int = 40, **given: Any
) -> Any:
    begun = client.post("/v1/uploads", json={"file_name": file_name, "bytes": len(data)} | given)
    assert begun.status_code == 201, begun.text
    place = f"/v1/uploads/{begun.json()['id']}"
    for offset in range(0, len(data), piece):
        sent = client.put(f"{place}?offset={offset}", content=data[offset : offset + piece])
        assert sent.status_code == 200, sent.text
    return client.post(f"{place}:finish")


def test_an_upload_becomes_a_version_and_the_same_bytes_no_second_one(
    client: TestClient, plane: Plane
) -> None:
    first = upload(client, lines(CHAT), name="support", sha256=hashlib.sha256(lines(CHAT)).hexdigest())
    assert first.status_code == 201
    assert first.json()["latest"] == 1
    again = upload(client, lines(CHAT), name="support")
    assert (again.status_code, again.json()["latest"]) == (200, 1)
    second = upload(client, lines(CHAT, CHAT), name="support").json()
    assert [version["number"] for version in second["versions"]] == [2, 1]
    assert second["versions"][0]["kind"] == "conversation"
    assert second["versions"][0]["columns"] == ["messages"]
    listed = client.get("/v1/datasets").json()["data"]
    assert [(row["name"], row["latest"], len(row["versions"])) for row in listed] == [("support", 2, 1)]
    assert client.get("/v1/datasets/support@1").json()["versions"][0]["number"] == 1
    assert client.get("/v1/datasets/support@7").status_code == 404
    assert "Did you mean `support`?" in client.get("/v1/datasets/suport").text
    assert not list((plane.home.root / "uploads").iterdir()), "nothing is left behind"


def test_an_upload_goes_on_where_it_broke_off(client: TestClient) -> None:
    data = lines(CHAT, CHAT)
    begun = client.post("/v1/uploads", json={"file_name": "train.jsonl", "bytes": len(data)}).json()
    place = f"/v1/uploads/{begun['id']}"
    client.put(f"{place}?offset=0", content=data[:50])
    assert client.put(f"{place}?offset=0", content=data[:50]).json()["offset"] == 50, "repeated: no change"
    ahead = client.put(f"{place}?offset=60", content=data[60:])
    assert (ahead.status_code, ahead.json()["error"]["details"]) == (409, {"offset": 50})
    early = client.post(f"{place}:finish")
    assert (early.status_code, early.json()["error"]["details"]) == (409, {"offset": 50})
    assert client.get(place).json()["offset"] == 50
    assert client.put(f"{place}?offset=40", content=data[40:]).json()["offset"] == len(data)
    assert client.put(f"{place}?offset=40", content=data[40:] + b"x").status_code == 422
    made = client.post(f"{place}:finish")
    assert made.status_code == 201
    assert client.post(f"{place}:finish").json()["id"] == made.json()["id"], (
        "a lost answer is asked for again"
    )


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"file_name": "../x.jsonl", "bytes": 1}, 422, "no file's name"),
        ({"file_name": "x.jsonl", "bytes": 10**15}, 413, "can be taken"),
        ({"file_name": "x.jsonl", "bytes": 0}, 422, "greater than 0"),
        ({"file_name": "x.jsonl", "bytes": 1, "name": "a/b"}, 422, ""),
        ({"file_name": "x.jsonl", "bytes": 1, "name": "a.jsonl"}, 422, ""),
    ],
)
def test_uploads_that_are_refused(client: TestClient, given: dict[str, Any], status: int, said: str) -> None:
    answer = client.post("/v1/uploads", json=given)
    assert answer.status_code == status, answer.text
    assert said in answer.text


def test_bytes_that_are_not_those_promised_or_no_rows(client: TestClient, plane: Plane) -> None:
    other = upload(client, lines(CHAT), sha256="0" * 64)
    assert other.status_code == 422
    assert "another SHA-256" in other.text
    broken = upload(client, b"no rows at all")
    assert broken.status_code == 422
    assert broken.json()["error"]["code"] == "invalid_data"
    assert str(plane.home.root) not in broken.text, "our own folders are nobody's matter"
    assert client.get("/v1/datasets").json()["data"] == []


def test_too_many_uploads_and_giving_up(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_OPEN", 1)
    first = client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": 5}).json()
    assert client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": 5}).status_code == 429
    assert client.delete(f"/v1/uploads/{first['id']}").status_code == 204
    assert client.get(f"/v1/uploads/{first['id']}").status_code == 404
    assert client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": 5}).status_code == 201


def test_a_registered_path_stays_where_it_is_and_may_not_change(
    client: TestClient, plane: Plane, allowed: Path, tmp_path: Path
) -> None:
    file = allowed / "rows.jsonl"
    file.write_bytes(lines(CHAT))
    made = client.post("/v1/datasets", json={"source": str(file)})
    assert (made.status_code, made.json()["name"]) == (201, "rows")
    assert client.post("/v1/datasets", json={"source": str(file)}).status_code == 200
    assert plane.services.datasets.find(LOCAL, "rows").path == file
    file.write_bytes(lines(CHAT, CHAT))
    with pytest.raises(InvalidInput, match="was changed since it was registered"):
        plane.services.datasets.find(LOCAL, "rows")
    assert client.post("/v1/datasets", json={"source": str(file)}).json()["latest"] == 2
    assert client.delete("/v1/datasets/rows").status_code == 204
    assert file.is_file(), "it is not ours"
    (tmp_path / "outside.jsonl").write_bytes(lines(CHAT))
    (allowed / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    for source in (
        tmp_path / "outside.jsonl",
        allowed / "link.jsonl",
        allowed / ".." / ".." / "api-key",
        "rows.jsonl",
    ):
        refused = client.post("/v1/datasets", json={"source": str(source)})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "path_not_allowed"), source
    for uri in ("s3://secret/x.jsonl", "http://169.254.169.254/x", "s3://data/../x"):
        assert client.post("/v1/datasets", json={"source": uri}).status_code == 422


def test_a_uri_is_read_where_it_is_allowed(plane: Plane, client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("instruction,output\nq,a\n")
    plane.settings.allowed_uris = ["s3://data/"]
    from tunesmith_platform.datasets import service

    class Bucket:
        def get_file(self, path: str, target: Path) -> None:
            target.write_bytes((tmp_path / path).read_bytes())

    real = service.open_storage
    service.open_storage = lambda uri: Bucket() if uri.startswith("s3:") else real(uri)  # type: ignore[assignment]
    try:
        made = client.post("/v1/datasets", json={"source": "s3://data/rows.csv"})
        gone = client.post("/v1/datasets", json={"source": "s3://data/none.csv"})
    finally:
        service.open_storage = real
    assert made.status_code == 201, made.text
    version = made.json()["versions"][0]
    assert (version["format"], version["source"], version["is_copied"]) == ("csv", "s3://data/rows.csv", True)
    assert gone.status_code == 422


def test_the_same_bytes_under_two_names_are_kept_until_the_last_goes(
    client: TestClient, plane: Plane
) -> None:
    upload(client, lines(CHAT), name="one")
    upload(client, lines(CHAT), name="two")
    path = plane.services.datasets.find(LOCAL, "two").path
    assert path == plane.services.datasets.find(LOCAL, "one").path
    assert client.delete("/v1/datasets/one").status_code == 204
    assert path.is_file()
    assert client.delete("/v1/datasets/two@1").status_code == 204
    assert not path.exists()
    assert client.get("/v1/datasets/two").status_code == 404
    assert client.delete("/v1/datasets/two").status_code == 404


def test_a_task_names_a_data_set_and_keeps_its_version(client: TestClient, plane: Plane) -> None:
    model = make_model_folder(plane.home.models / "m")
    upload(client, gzip.compress(lines(CHAT, CHAT)), "train.jsonl.gz", name="support", piece=10_000)
    services = plane.services

    def check(scope: Scope, spec: TrainSpec) -> Any:
        models, datasets = services.models.seen_by(scope), services.datasets.seen_by(scope)
        return check_train_inputs(spec, plane.settings, models, datasets)

    body = {"spec": {"model": str(model), "train_file": "support", "use_lora": False}}
    task = services.tasks.create(LOCAL, NewTrainTask.model_validate(body), None)[0]
    assert task.spec["train_file"] == "support@1", "a later version must not slip in when the task goes on"
    inputs = check(LOCAL, TrainSpec.read(body["spec"]))
    assert inputs.train_sha256 == services.datasets.get(LOCAL, "support").versions[0].sha256
    assert (inputs.train_dataset, inputs.rows) == ("support@1", 2)
    refused = client.delete("/v1/datasets/support")
    assert refused.status_code == 409
    assert task.id in refused.json()["error"]["hint"]
    with pytest.raises(InvalidInput, match="no data set `nobody`"):
        check_train_inputs(
            TrainSpec.read(body["spec"] | {"train_file": "nobody"}),
            plane.settings,
            services.models.seen_by(LOCAL),
            services.datasets.seen_by(LOCAL),
        )


def test_report_and_preview(client: TestClient, plane: Plane, allowed: Path) -> None:
    make_model_folder(plane.home.models / "m")
    file = allowed / "rows.jsonl"
    file.write_bytes(lines(CHAT, {"messages": []}, CHAT))
    report = client.post(
        "/v1/datasets:validate", json={"file": str(file), "model": "m", "allowed_bad_percent": 40}
    )
    assert report.status_code == 200, report.text
    assert report.json()["verdict"] == "skips"
    assert report.json()["duplicates"] == 1
    assert report.json()["tokens"]["rows"] == 2
    shown = client.post("/v1/datasets:preview", json={"file": str(file), "model": "m", "rows": [3]}).json()
    assert shown["rows"][0]["place"] == "rows.jsonl:3"
    assert shown["rows"][0]["trained"] > 0
    for path, body, status in (
        ("validate", {"file": "/etc/passwd"}, 422),
        ("validate", {"file": str(file), "parameters": {"train_file": "x"}}, 422),
        ("validate", {"file": str(file), "parameters": {"max_lenght": 5}}, 422),
        ("validate", {"file": str(file), "parameters": {"chat_template": "/etc/passwd"}}, 422),
        ("preview", {"file": str(file), "model": "m", "rows": [99]}, 404),
        ("preview", {"file": str(file), "model": "nobody"}, 422),
    ):
        answer = client.post(f"/v1/datasets:{path}", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert answer.json()["error"]["hint"], body


@pytest.fixture
def ann(plane: Plane, client: TestClient) -> dict[str, str]:
    """The headers of another user."""
    return {"Authorization": f"Bearer {plane.key('ann')}"}


def test_uploads_are_their_owners_alone(client: TestClient, ann: dict[str, str]) -> None:
    """Another user learns of none, and of each the same as of one that was never begun."""
    data = lines(CHAT)
    mine = client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": len(data)}).json()
    place = f"/v1/uploads/{mine['id']}"
    nowhere = f"{place[:-3]}zzz"

    def tried(path: str) -> list[Any]:
        return [
            client.get(path, headers=ann),
            client.put(path, params={"offset": 0}, content=data, headers=ann),
            client.put(path, params={"offset": 2**40}, content=data, headers=ann),
            client.post(f"{path}:finish", headers=ann),
            client.delete(path, headers=ann),
        ]

    for there, away in zip(tried(place), tried(nowhere), strict=True):
        assert there.status_code == away.status_code == 404
        assert there.text.replace(mine["id"], "?") == away.text.replace(nowhere.rpartition("/")[2], "?")
    assert client.get("/v1/uploads", headers=ann).json()["data"] == []
    assert [view["id"] for view in client.get("/v1/uploads").json()["data"]] == [mine["id"]]
    assert client.get("/v1/uploads").json()["data"][0]["offset"] == 0, "nothing of another's arrived"
    assert client.put(place, params={"offset": 0}, content=data).status_code == 200
    assert client.post(f"{place}:finish").status_code == 201
    assert client.post(f"{place}:finish", headers=ann).status_code == 404
    assert client.get("/v1/uploads").json()["data"] == [], "it became a data set"


@pytest.mark.parametrize("meanwhile", ["give_up", "finish"])
def test_a_piece_that_comes_after_the_end_of_its_upload_leaves_no_file(
    plane: Plane, client: TestClient, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes between the look at the upload and the writing; nobody would ever remove the file."""
    service, data = plane.services.uploads, lines(CHAT)
    place = f"/v1/uploads/{client.post('/v1/uploads', json={'file_name': 'a.jsonl', 'bytes': len(data)}).json()['id']}"
    upload_id = place.rpartition("/")[2]
    assert client.put(place, params={"offset": 0}, content=data).status_code == 200
    own = service._alone

    def end_first(name: str) -> Any:
        monkeypatch.setattr(service, "_alone", own)
        getattr(service, meanwhile)(LOCAL, name)
        return own(name)

    monkeypatch.setattr(service, "_alone", end_first)
    answer = client.put(f"/v1/uploads/{upload_id}", params={"offset": 0}, content=data)
    assert answer.status_code == (404 if meanwhile == "give_up" else 200), answer.text
    assert not list((plane.home.root / "uploads").iterdir())


def test_an_upload_that_is_being_finished_is_not_given_up_as_old(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is elsewhere then: its age alone would tell."""
    service, data = plane.services.uploads, lines(CHAT)
    begun = client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": len(data)}).json()["id"]
    assert client.put(f"/v1/uploads/{begun}", params={"offset": 0}, content=data).status_code == 200
    take = plane.services.datasets.take

    def taken(*given: Any, **options: Any) -> Any:
        made = take(*given, **options)
        monkeypatch.setattr(uploads, "KEPT", -uploads.KEPT)
        service.open(LOCAL)
        return made

    monkeypatch.setattr(plane.services.datasets, "take", taken)
    dataset, made = service.finish(LOCAL, begun)
    assert made
    assert service.finish(LOCAL, begun) == (dataset, False), "asked again, it answers the same"


def test_one_users_uploads_keep_nobody_else_from_uploading(
    client: TestClient, plane: Plane, ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(size: int, **headers: str) -> Any:
        return client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": size}, headers=headers)

    monkeypatch.setattr(uploads, "MAX_OPEN", 2)
    assert [begin(5).status_code for _ in range(3)] == [201, 201, 429]
    assert begin(5, **ann).status_code == 201
    monkeypatch.setattr(plane.settings, "max_open_upload_bytes", 100)
    refused = begin(96, **ann)
    assert refused.status_code == 429
    assert "come to 101 bytes" in refused.json()["error"]["message"]
    assert begin(95, **ann).status_code == 201


def test_what_was_promised_before_is_no_room(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when all that was promised has come, not before."""
    usage = shutil.disk_usage("/")._replace(free=uploads._SPARE_BYTES + 1000)
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage)

    def begin(size: int) -> Any:
        return client.post("/v1/uploads", json={"file_name": "a.jsonl", "bytes": size})

    first = begin(600).json()["id"]
    assert begin(600).status_code == 413
    assert begin(400).status_code == 201
    assert client.delete(f"/v1/uploads/{first}").status_code == 204
    assert begin(600).status_code == 201

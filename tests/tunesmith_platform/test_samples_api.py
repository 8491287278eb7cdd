"""Samples of evaluations over HTTP: ours, a look at a file, edits of a data set that lose nothing."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from fastapi.testclient import TestClient

from tunesmith.evaluation.samples import read_samples
from tunesmith_platform.evaluations.samples_service import NewSample, SampleEdit

PAIR = {"prompt": "What is 2 + 2?", "completion": "4"}
EDIT = "/v1/evaluations/samples:edit"
CHECK = "/v1/evaluations/samples:check"


def edit(client: TestClient, **body: Any) -> Any:
    return client.post(EDIT, json={"dataset": "questions"} | body)


def test_ours_are_a_sample_file(client: TestClient, tmp_path: Path) -> None:
    for language, count in (("en", 64), ("zh", 64), ("all", 128)):
        answer = client.get("/v1/evaluations/samples", params={"language": language})
        assert answer.status_code == 200
        path = tmp_path / f"{language}.json"
        path.write_bytes(answer.content)
        assert read_samples(path).counts["validation"] == count
    assert client.get("/v1/evaluations/samples?language=fr").status_code == 422


def test_a_file_is_looked_at_before_it_is_used(client: TestClient, plane: Plane, tmp_path: Path) -> None:
    path = plane.home.models / "questions.json"
    path.write_text(
        json.dumps({"train": [PAIR], "validation": [{"prompt": "x"}, {"prompt": "y", "completion": "z"}]})
    )
    found = client.post(CHECK, json={"file": str(path), "split": "validation"}).json()
    assert (found["counts"], found["bad"]) == ({"train": 1, "validation": 1}, 1)
    assert found["problems"][0]["field"] == "questions.json:validation row 1"
    assert [sample["reference"] for sample in found["samples"]] == ["z"]
    few = client.post(CHECK, json={"file": str(path), "first": 1}).json()
    assert (len(few["samples"]), few["more"]) == (1, 1)
    path.write_text("")
    assert client.post(CHECK, json={"file": str(path)}).json()["error"]["code"] == "invalid_data"
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps({"validation": [PAIR]}))
    assert client.post(CHECK, json={"file": str(outside)}).json()["error"]["code"] == "path_not_allowed"
    assert client.post(CHECK, json={"file": "nothing"}).status_code == 422


def test_edits_are_versions(client: TestClient) -> None:
    first = edit(client, add=[PAIR, {"prompt": "a", "completion": "b", "split": "train", "keywords": ["b"]}])
    assert first.status_code == 201, first.text
    assert (first.json()["version"], first.json()["counts"]) == ("questions@1", {"train": 1, "validation": 1})
    assert first.headers["Location"].endswith(first.json()["dataset"]["id"])
    again = edit(client, add=[PAIR])
    assert (again.status_code, again.json()["version"], again.json()["added"]) == (200, "questions@1", [])
    shown = client.post(CHECK, json={"file": "questions", "split": "validation"}).json()["samples"]
    [kept] = [one["id"] for one in shown]
    replaced = edit(client, add=[{**PAIR, "completion": "four"}], remove=[kept]).json()
    assert (replaced["version"], replaced["removed"]) == ("questions@2", [kept])
    # Sent once more, as after a lost answer: nothing changes.
    resent = edit(client, add=[{**PAIR, "completion": "four"}], remove=[kept])
    assert (resent.status_code, resent.json()["missing"], resent.json()["version"]) == (
        200,
        [kept],
        "questions@2",
    )
    old, new = (client.post(CHECK, json={"file": f"questions@{number}"}).json() for number in (1, 2))
    assert [one["reference"] for one in old["samples"]] == ["4", "b"]
    assert sorted(one["reference"] for one in new["samples"]) == ["b", "four"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "Nothing is to be added or removed"),
        ({"add": [PAIR, {"prompt": "x"}]}, 422, "add.2: `completion` is missing"),
        ({"add": [{**PAIR, "messages": [{"role": "user", "content": "x"}]}]}, 422, "here it is both"),
        ({"add": [{**PAIR, "promt": "x"}]}, 422, "promt"),
        ({"add": [{**PAIR, "split": "test"}]}, 422, "validation"),
        ({"add": [PAIR], "dataset": "a/b"}, 422, "dataset"),
        ({"remove": ["nonsense"]}, 422, "remove"),
        ({"add": [PAIR], "if_version": 3}, 409, "is at version 0, not 3"),
        ({"remove": ["0" * 16]}, 422, "No sample would be left"),
    ],
)
def test_edits_that_are_refused(client: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    answer = edit(client, **body)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert client.get("/v1/datasets").json()["data"] == []


def test_a_version_that_was_named_is_the_one_that_is_edited(client: TestClient) -> None:
    assert edit(client, add=[PAIR], if_version=0).status_code == 201
    assert edit(client, add=[{"prompt": "a", "completion": "b"}], if_version=0).status_code == 409
    conflict = edit(client, add=[{"prompt": "a", "completion": "b"}], if_version=2).json()["error"]
    assert conflict["details"] == {"version": 1}
    assert edit(client, add=[{"prompt": "a", "completion": "b"}], if_version=1).status_code == 201


def test_no_edit_is_lost_where_several_come_at_once(plane: Plane) -> None:
    failures: list[BaseException] = []

    def add(number: int) -> None:
        try:
            new = NewSample(prompt=f"What is {number}?", completion="x")
            plane.services.samples.edit(LOCAL, SampleEdit(dataset="questions", add=[new]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = read_samples(plane.services.datasets.find(LOCAL, "questions").path)
    assert len(found.samples) == 4
    assert plane.services.datasets.get(LOCAL, "questions").latest == 4


def test_a_registered_file_is_edited_into_a_version_of_our_own(client: TestClient, plane: Plane) -> None:
    path = plane.home.models / "mine.csv"
    path.write_text("question,answer,source\nWho?,She.,a book\n")
    client.post("/v1/datasets", json={"source": str(path), "name": "questions"})
    before = path.read_bytes()
    edited = edit(client, add=[PAIR]).json()
    assert (edited["version"], edited["counts"]["validation"]) == ("questions@2", 2)
    assert path.read_bytes() == before
    assert edited["dataset"]["versions"][0]["columns"][:3] == ["source", "split", "prompt"]
    assert not list((plane.home.root / "uploads").iterdir()), "nothing is left behind"

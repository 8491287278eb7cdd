"""Two replicas on one database and one storage: bytes that come, are read and are removed at either."""

import concurrent.futures
import datetime as dt
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import LOCAL, Plane
from model_files import make_model_folder
from sqlalchemy import select
from two_replicas import SOON, Replicas, side_by_side
from waiting import wait_until

from tunesmith.errors import NotFound
from tunesmith_platform.datasets.service import NewDataset
from tunesmith_platform.datasets.uploads import NewUpload
from tunesmith_platform.db.tables import DatasetVersionRow
from tunesmith_platform.models import fingerprints


def test_a_large_model_is_read_once(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fingerprints, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(fingerprints, "_OTHER_SECONDS", 0.05)
    read, sums, go_on = [], fingerprints.sums, threading.Event()

    def count(folder: Path, known: Any) -> Any:
        if not known:
            read.append(folder)
            go_on.wait(SOON)
        return sums(folder, known)

    monkeypatch.setattr(fingerprints, "sums", count)
    make_model_folder(replicas[0].settings.models_dir / "m")
    assert [plane.services.models.get(LOCAL, "m").sha256 for plane in replicas] == [None, None]
    wait_until(lambda: read, SOON, "one reads")
    go_on.set()
    wait_until(lambda: replicas[1].services.models.get(LOCAL, "m").sha256, SOON, "the fingerprint")
    wait_until(
        lambda: not any(plane.services.models._fingerprints._waiting for plane in replicas), SOON, "both know"
    )
    assert len(read) == 1


def test_what_was_being_read_when_a_process_ended_is_read(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "AT_ONCE_BYTES", 0)
    first, second = replicas
    monkeypatch.setattr(first.services.models._fingerprints, "_later", lambda _: None)  # it was killed
    make_model_folder(first.settings.models_dir / "m")
    assert first.services.models.get(LOCAL, "m").sha256 is None
    second.services.models.resume()
    wait_until(lambda: first.services.models.get(LOCAL, "m").sha256, SOON, "the fingerprint")


ROWS = b'{"prompt": "p", "response": "r"}\n'


def file_of(plane: Plane, name: str, data: bytes = ROWS) -> Path:
    part = plane.services.datasets.scratch() / f"{name}.part"
    part.write_bytes(data)
    return part


def take(plane: Plane, name: str, data: bytes = ROWS) -> Any:
    service = plane.services.datasets
    return service.take(LOCAL, name, file_of(plane, name, data), "rows.jsonl", None, source="upload")[0]


def test_a_slow_storage_holds_up_no_other_bytes(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = replicas
    is_slow, go_on = threading.Event(), threading.Event()
    store = type(first.services.datasets)._store

    def slowly(self: Any, folder: Path, sha256: str, file_name: str) -> str:
        if sha256 == hashlib.sha256(ROWS).hexdigest():
            is_slow.set()
            go_on.wait(SOON)
        return store(self, folder, sha256, file_name)

    monkeypatch.setattr(type(first.services.datasets), "_store", slowly)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(take, first, "slow")
        assert is_slow.wait(SOON)
        assert take(first, "quick", ROWS * 2).latest == 1
        assert take(second, "quick", ROWS * 3).latest == 2
        second.services.datasets.remove(LOCAL, "quick")
        assert not slow.done()
        go_on.set()
        assert slow.result().latest == 1


def test_bytes_that_come_again_while_they_are_removed_are_kept(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One finds them stored, the other removes them from there."""
    first, second = replicas
    take(first, "old")
    is_found, go_on = threading.Event(), threading.Event()
    store = type(first.services.datasets)._store

    def slowly(self: Any, *given: Any) -> str:
        place = store(self, *given)
        is_found.set()
        go_on.wait(SOON)
        return place

    monkeypatch.setattr(type(first.services.datasets), "_store", slowly)

    def is_out() -> bool:
        with second.services.database.read() as session:
            return not session.scalars(select(DatasetVersionRow.number)).all()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        again = pool.submit(take, first, "new")
        assert is_found.wait(SOON)
        removed = pool.submit(second.services.datasets.remove, LOCAL, "old")
        wait_until(is_out, SOON, "its row is gone")
        go_on.set()
        again.result()
        removed.result()
    assert second.services.datasets.find(LOCAL, "new").path.read_bytes() == ROWS
    with pytest.raises(NotFound):
        second.services.datasets.get(LOCAL, "old")
    second.services.datasets.remove(LOCAL, "new")
    assert not list((first.home.files / "datasets").rglob("rows.jsonl"))


def test_an_upload_goes_on_at_another_and_is_finished_once(replicas: Replicas) -> None:
    first, second = (plane.services.uploads for plane in replicas)
    data = ROWS * 50
    begun = first.begin(LOCAL, NewUpload(file_name="rows.jsonl", bytes=len(data)))
    half = len(data) // 2
    side_by_side(*(lambda one=one: one.put(LOCAL, begun.id, 0, data[:half]) for one in (first, second)))
    assert second.put(LOCAL, begun.id, half, data[half:]).offset == len(data)
    calls = [lambda one=one: one.finish(LOCAL, begun.id) for one in (first, second)]
    found = side_by_side(*calls)
    assert sorted(is_new for _, is_new in found) == [False, True]
    assert len({view.id for view, _ in found}) == 1
    assert Path(replicas[0].services.datasets.find(LOCAL, "rows").path).read_bytes() == data


def test_an_upload_that_another_sends_is_not_given_up(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (plane.services.uploads for plane in replicas)
    begun = first.begin(LOCAL, NewUpload(file_name="rows.jsonl", bytes=len(ROWS)))
    monkeypatch.setattr("tunesmith_platform.datasets.uploads.KEPT", dt.timedelta(seconds=-1))
    with first._alone(begun.id):
        second._give_up_old()
        assert second.get(LOCAL, begun.id).id == begun.id
    second._give_up_old()
    with pytest.raises(NotFound):
        first.get(LOCAL, begun.id)
    assert [file.name for file in first._datasets.scratch().iterdir()] == []


def test_a_data_set_of_one_is_found_by_the_other(replicas: Replicas, tmp_path: Path) -> None:
    for plane in replicas:
        plane.settings.allowed_roots.append(tmp_path)
    (tmp_path / "own.jsonl").write_bytes(ROWS)
    replicas[0].services.datasets.register(LOCAL, NewDataset(source=str(tmp_path / "own.jsonl"), name=None))
    assert replicas[1].services.datasets.find(LOCAL, "own").version == "own@1"

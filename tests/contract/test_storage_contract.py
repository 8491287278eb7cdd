"""The same behaviour from a local folder and from a real S3 server."""

from pathlib import Path

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.storage import LocalStorage, Storage, local_path, open_storage


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return open_storage(str(tmp_path / "store"))
    bucket = request.getfixturevalue("s3_uri")
    return open_storage(f"{bucket}/{tmp_path.name}")


def test_files_are_written_read_listed_and_removed(storage: Storage) -> None:
    assert storage.read("a/b.json") is None
    assert storage.list("a") == []
    storage.write("a/b.json", b"1")
    storage.write("a/b.json", b"2")
    storage.write("a/ü c.txt", b"")
    assert storage.read("a/b.json") == b"2"
    assert storage.list("a") == ["b.json", "ü c.txt"]
    storage.remove("a/b.json")
    storage.remove("a/b.json")
    assert storage.list("a") == ["ü c.txt"]
    storage.remove("a")
    storage.remove("never-there")
    assert storage.list("a") == []


def test_folders_travel_whole(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    (source / "one").write_bytes(b"1" * 100_000)
    (source / "deep" / "two").write_bytes(b"2")
    storage.put_folder(source, "checkpoints/checkpoint-5")
    assert storage.list("checkpoints") == ["checkpoint-5"]
    back = storage.get_folder("checkpoints/checkpoint-5", tmp_path / "scratch")
    assert (back / "one").read_bytes() == b"1" * 100_000
    assert (back / "deep" / "two").read_bytes() == b"2"


def test_one_file_is_fetched(storage: Storage, tmp_path: Path) -> None:
    storage.write("data/rows.jsonl", b"x" * 1000)
    storage.get_file("data/rows.jsonl", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"x" * 1000
    with pytest.raises(FileNotFoundError):
        storage.get_file("data/none.jsonl", tmp_path / "there")


def test_uris() -> None:
    assert isinstance(open_storage("/a b"), LocalStorage)
    assert local_path("file:///a%20b") == Path("/a b")
    assert local_path("s3://bucket/x") is None
    with pytest.raises(InvalidInput):
        open_storage("ftp://x")

"""The same behaviour from a local folder and from a real S3 server."""

import gc
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith import storage_copy
from tunesmith.artifacts import Manifest, list_files
from tunesmith.errors import InvalidInput, NotOurs
from tunesmith.removal import claim_storage, remove_stored
from tunesmith.storage import LocalStorage, S3Storage, Storage, local_path, open_storage
from tunesmith_jobs.remote_folders import RemoteFolders
from tunesmith_platform.tasks.files import TaskFiles, remove


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
    storage.write("a/deep/er/x", b"")
    assert storage.files("a") == ["b.json", "deep/er/x", "ü c.txt"]
    assert storage.sizes("a") == {"b.json": 1, "deep/er/x": 0, "ü c.txt": 0}
    assert storage.sizes("never-there") == {}
    storage.remove_file("a/b.json")
    storage.remove_file("a/b.json")
    storage.remove_file("a/deep")  # no file: it stays
    assert storage.files("a") == ["deep/er/x", "ü c.txt"]
    assert not storage.remove_empty("a")
    storage.remove_file("a/ü c.txt")
    storage.remove_file("a/deep/er/x")
    assert storage.remove_empty("a")
    assert storage.remove_empty("never-there")
    assert storage.list("a") == []
    assert storage.list() == []


def test_a_part_of_a_file_comes_in_pieces(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.storage._SENT", 1000)
    content = os.urandom(5500)
    storage.write("a/b.gguf", content)
    pieces = list(storage.pieces("a/b.gguf", 100, 5000))
    assert (b"".join(pieces), max(map(len, pieces))) == (content[100:5100], 1000)
    assert list(storage.pieces("a/b.gguf", 0, 0)) == []
    with pytest.raises(OSError, match="shorter"):
        list(storage.pieces("a/b.gguf", 5000, 501))
    with pytest.raises(FileNotFoundError):
        list(storage.pieces("a/none", 0, 1))


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


@pytest.mark.parametrize("fault", ["its read fails", "it is cut off"])
def test_of_a_file_that_cannot_be_read_to_its_end_nothing_appears(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Neither half of it nor, where one stood there before, anything in its place."""
    monkeypatch.setattr("tunesmith.storage._PIECE", 100_000)
    storage.write("a/again", b"before")

    def advance(_: int) -> None:
        if fault == "its read fails":
            raise OSError("the disk")
        for file in (tmp_path / "out").iterdir():
            os.truncate(file, 150_000)

    for name in ("again", "new"):
        source = tmp_path / "out"
        source.mkdir()
        (source / name).write_bytes(b"x" * 300_000)
        with pytest.raises(OSError, match=r"disk|cut off"):
            storage.put_folder(source, "a", advance)
        (source / name).unlink()
        source.rmdir()
    gc.collect()
    assert storage.sizes("a") == {"again": len(b"before")}
    assert storage.read("a/again") == b"before"


def test_a_folder_that_comes_again_takes_nothing_away(storage: Storage, tmp_path: Path) -> None:
    storage.write("place/theirs", b"theirs")
    storage.write("place/one", b"old")
    source = tmp_path / "out"
    source.mkdir()
    (source / "one").write_bytes(b"new")
    storage.put_folder(source, "place")
    assert storage.files("place") == ["one", "theirs"]
    assert storage.read("place/one") == b"new"


@pytest.mark.parametrize("size", [1000, 17 * 2**20 + 5])
def test_a_server_copies_a_file_itself(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """From another prefix and from another bucket; what is over what one request may copy, in parts."""
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setattr(storage_copy, "AT_ONCE", 6 * 2**20)
    monkeypatch.setattr(storage_copy, "PART", 5 * 2**20)
    content = os.urandom(size)
    other = f"other-{size}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=other)
    target = open_storage(f"{s3_uri}/{tmp_path.name}/to")
    assert isinstance(target, S3Storage)
    for place in (f"{s3_uri}/{tmp_path.name}/from", f"s3://{other}/{tmp_path.name}"):
        source = open_storage(place)
        assert isinstance(source, S3Storage)
        source.write("ü c.gguf", content)
        assert target.copy_from(source, "ü c.gguf", "a/é d.gguf")
        assert target.read("a/é d.gguf") == content
        bucket, _, key = f"{target.uri}/a/é d.gguf".removeprefix("s3://").partition("/")
        parts = -(-size // storage_copy.PART)
        assert client.head_object(Bucket=bucket, Key=key)["ETag"].endswith(f'-{parts}"'), (
            "as the server says it"
        )
        target.remove_file("a/é d.gguf")
    with pytest.raises(OSError, match=r"(?i)not.?found|does not exist|404|no such"):
        target.copy_from(source, "never-there", "a/none")
    assert target.sizes() == {}


@pytest.mark.parametrize("size", [5 * 2**30 - 1, 5 * 2**30, 5 * 2**30 + 1, 50 * 10**9, 5 * 10**12, 5 * 2**40])
def test_parts_of_a_copy_keep_to_the_rules_of_s3(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """At most 10 000 of them, of 5 MiB to 5 GiB but for the last, each byte once; up to 5 GiB one request."""
    client = pytest.importorskip("botocore.client")
    asked: list[tuple[str, dict[str, Any]]] = []

    def answered(self: object, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        asked.append((operation, given))
        part = {"CopyPartResult": {"ETag": "part"}}
        return {"ContentLength": size, "ETag": "whole", "UploadId": "1", **part}

    class Server:
        def get_file_info(self, place: str) -> SimpleNamespace:
            return SimpleNamespace(size=size)

        def copy_file(self, source: str, target: str) -> None:
            asked.append(("CopyObject", {}))

    monkeypatch.setattr(client.BaseClient, "_make_api_call", answered)
    place = S3Storage.__new__(S3Storage)
    place._fs, place._root = Server(), "bucket/place"
    assert place.copy_from(place, "a", "b")
    if size <= 5 * 2**30:
        assert [operation for operation, _ in asked] == ["CopyObject"]
        return
    assert [operation for operation, _ in asked].count("CompleteMultipartUpload") == 1
    parts = [given for operation, given in asked if operation == "UploadPartCopy"]
    assert {part["CopySourceIfMatch"] for part in parts} == {"whole"}, "of one and the same file"
    bounds = sorted(
        [int(end) for end in part["CopySourceRange"].removeprefix("bytes=").split("-")] for part in parts
    )
    assert [begin for begin, _ in bounds] == [0, *(end + 1 for _, end in bounds[:-1])]
    assert bounds[-1][1] == size - 1
    assert len(parts) <= 10_000
    sizes = [end - begin + 1 for begin, end in bounds]
    assert max(sizes) <= 5 * 2**30
    assert min(sizes[:-1]) >= 5 * 2**20


KILLED = """
import os, signal, sys
from botocore.client import BaseClient
from tunesmith import storage_copy
from tunesmith.storage import open_storage

storage_copy.AT_ONCE, storage_copy.PART = 6 * 2**20, 5 * 2**20
ask = BaseClient._make_api_call
def asked(self, operation, given):
    answer = ask(self, operation, given)
    if operation == "UploadPartCopy" and given["PartNumber"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
BaseClient._make_api_call = asked
open_storage(sys.argv[1]).copy_from(open_storage(sys.argv[2]), "a.gguf", "package/a.gguf")
"""


def uploads(folder: str) -> list[str]:
    """The keys of what was begun below a folder of the bucket and not ended."""
    boto3 = pytest.importorskip("boto3")
    bucket, _, key = folder.removeprefix("s3://").partition("/")
    found = boto3.client("s3").list_multipart_uploads(Bucket=bucket, Prefix=f"{key}/")
    return [one["Key"] for one in found.get("Uploads", ())]


def test_of_a_copy_that_was_killed_nothing_stays(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half file under its name, and its parts are given up by whoever saves there next, or removes the task."""
    pytest.importorskip("boto3")
    source, target = (open_storage(f"{s3_uri}/{tmp_path.name}/{name}") for name in ("from", "to"))
    content = os.urandom(17 * 2**20)
    source.write("a.gguf", content)
    left = [f"{tmp_path.name}/to/package/a.gguf"]

    def killed() -> None:
        command = [sys.executable, "-c", KILLED, target.uri, source.uri]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert target.sizes() == {}
        assert uploads(target.uri) == left

    killed()
    assert storage_copy.give_up_uploads(f"{target.uri}/pack") == 0
    assert uploads(target.uri) == left, "of another folder"
    folders = RemoteFolders(target, "mine", lambda: True)
    monkeypatch.setattr(storage_copy, "AT_ONCE", 6 * 2**20)
    sha256 = hashlib.sha256(content).hexdigest()
    assert folders.copy(source.uri, "a.gguf", "package/a.gguf", sha256, lambda count: None)
    assert uploads(target.uri) == []
    assert target.read("package/a.gguf") == content
    target.remove_file("package/a.gguf")
    killed()
    remove(TaskFiles("mine", tmp_path / "work", str(tmp_path), target.uri, None, None))
    assert uploads(target.uri) == []


def test_a_copy_of_what_changes_meanwhile_fails_and_leaves_nothing(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pytest.importorskip("botocore.client")
    monkeypatch.setattr(storage_copy, "AT_ONCE", 6 * 2**20)
    monkeypatch.setattr(storage_copy, "PART", 5 * 2**20)
    place = open_storage(f"{s3_uri}/{tmp_path.name}")
    assert isinstance(place, S3Storage)
    place.write("a", bytes(17 * 2**20))
    ask = client.BaseClient._make_api_call

    def asked(self: object, operation: str, given: dict[str, Any]) -> Any:
        answer = ask(self, operation, given)
        if operation == "CreateMultipartUpload":
            place.write("a", bytes(17 * 2**20 - 1))
        return answer

    monkeypatch.setattr(client.BaseClient, "_make_api_call", asked)
    with pytest.raises(OSError, match=r"(?i)etag|precondition|range"):
        place.copy_from(place, "a", "b")
    assert list(place.sizes()) == ["a"]
    assert uploads(place.uri) == []


def test_a_large_file_is_not_copied_there_without_boto3(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_copy, "AT_ONCE", 10)
    monkeypatch.setitem(sys.modules, "boto3", None)
    place = open_storage(f"{s3_uri}/{tmp_path.name}")
    assert isinstance(place, S3Storage)
    place.write("a", b"12345678901")
    assert not place.copy_from(place, "a", "b")
    assert place.list() == ["a"]


def result(folder: Path, task_id: str, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest = Manifest(task_id=task_id, attempt=1, step=1, files=list_files(folder))
    (folder / "manifest.json").write_bytes(manifest.encode())
    return folder


@pytest.mark.parametrize("is_claimed", [True, False])
def test_of_a_result_goes_what_its_manifest_names(storage: Storage, tmp_path: Path, is_claimed: bool) -> None:
    for number, task_id in enumerate(("mine", "mine", "other")):
        storage.put_folder(result(tmp_path / str(number), task_id, weights=b"w"), f"results/{number}")
    storage.write("results/1/notes.txt", b"by hand")
    storage.write("results/3/weights", b"cut off, or by hand")
    assert remove_stored(storage, "results/0", "mine")
    assert not remove_stored(storage, "results/1", "mine")
    with pytest.raises(NotOurs, match="results/2"):
        remove_stored(storage, "results/2", "mine", unfinished=is_claimed)
    if is_claimed:
        assert remove_stored(storage, "results/3", "mine", unfinished=True)
    else:
        with pytest.raises(NotOurs, match="results/3"):
            remove_stored(storage, "results/3", "mine")
    left = ["1/notes.txt", "2/manifest.json", "2/weights"] + ([] if is_claimed else ["3/weights"])
    assert storage.files("results") == left
    assert remove_stored(storage, "results/0", "mine"), "nothing to remove is no error"


def test_a_place_is_claimed_once_and_only_where_nothing_of_others_stands(storage: Storage) -> None:
    assert claim_storage(storage, "mine", ("model",))
    assert claim_storage(storage, "mine", ("model",))
    assert not claim_storage(storage, "other")
    taken = open_storage(f"{storage.uri}/taken")
    taken.write("model/weights", b"by hand")
    assert not claim_storage(taken, "mine", ("model",))
    assert taken.files() == ["model/weights"]
    assert claim_storage(taken, "mine"), "whoever asks without names knows that it is its own"


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

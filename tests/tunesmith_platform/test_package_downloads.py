"""A package's file on its way to people: in parts, over connections that break, by links that count for a time."""

import contextlib
import datetime as dt
import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from package_bench import FILE, Bench
from waiting import free_port, wait_until

from tunesmith.client import Client
from tunesmith.client import download as downloading
from tunesmith.errors import InvalidInput, NotOurs, Unavailable
from tunesmith.home import Home
from tunesmith_platform.db.tables import ApiKeyRow
from tunesmith_platform.packaging import links
from tunesmith_platform.serving import ApiServer

CONTENT = os.urandom(3_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA}"'


@pytest.fixture
def bench(plane: Plane, client: TestClient, tiny_model: Path) -> Bench:
    return Bench(plane, client, tiny_model)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where downloads go."""
    made = tmp_path / "into"
    made.mkdir()
    return made


@pytest.fixture
def path(bench: Bench) -> str:
    return f"/v1/tasks/{bench.packaged(bench.trained({8: 1.0}), content=CONTENT).id}/package"


@pytest.mark.parametrize(
    ("headers", "status", "start", "end"),
    [
        ({}, 200, 0, 3_000_000),
        ({"Range": "bytes=10-"}, 206, 10, 3_000_000),
        ({"Range": "bytes=10-19"}, 206, 10, 20),
        ({"Range": "bytes=10-99999999"}, 206, 10, 3_000_000),
        ({"Range": "bytes=-5"}, 206, 2_999_995, 3_000_000),
        ({"Range": "bytes=10-", "If-Range": ETAG}, 206, 10, 3_000_000),
        ({"Range": "bytes=10-", "If-Range": '"other"'}, 200, 0, 3_000_000),
        ({"Range": "bytes=10-", "If-Range": f"W/{ETAG}"}, 200, 0, 3_000_000),
        ({"Range": "bytes=0-1,5-6"}, 200, 0, 3_000_000),
        ({"Range": "lines=1-2"}, 200, 0, 3_000_000),
        ({"Range": "bytes=-"}, 200, 0, 3_000_000),
        ({"Range": "bytes=3000000-"}, 416, 0, 0),
        ({"Range": "bytes=20-10"}, 416, 0, 0),
        ({"Range": "bytes=-0"}, 416, 0, 0),
    ],
)
def test_the_part_that_is_asked_for(
    bench: Bench, path: str, headers: dict[str, str], status: int, start: int, end: int
) -> None:
    found = bench.client.get(f"{path}/files/{FILE}", headers=headers)
    assert (found.status_code, found.content) == (status, CONTENT[start:end])
    assert (found.headers["etag"], found.headers["accept-ranges"]) == (ETAG, "bytes")
    assert int(found.headers["content-length"]) == end - start
    said = {206: f"bytes {start}-{end - 1}/3000000", 416: "bytes */3000000"}.get(status)
    assert found.headers.get("content-range") == said


class Cut:
    """A server's port, before which connections break off after so many bytes of an answer."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.cuts: list[int] = []
        self.bytes = 0
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._let_in, daemon=True).start()

    def close(self) -> None:
        self._door.close()

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._carry, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
                if not is_answer or len(piece) < 10_000:
                    continue
                self.bytes += len(piece)
                if self.cuts and self.bytes >= self.cuts[0]:
                    self.cuts.pop(0)
                    break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cut(plane: Plane, client: TestClient) -> Iterator[Cut]:
    server = ApiServer(plane.app, "127.0.0.1", port := free_port())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 30, "the API")
    door = Cut(port)
    yield door
    door.close()
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def caller(bench: Bench, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(downloading, "pause_before", lambda tries: 0.01)
    with Client(cut.url, bench.plane.api_key) as found:
        yield found


def task_of(path: str) -> str:
    return path.split("/")[3]


def test_a_download_goes_on_over_connections_that_break(
    cut: Cut, caller: Client, path: str, place: Path
) -> None:
    cut.cuts = [200_000, 1_000_000, 1_500_000, 2_900_000]
    seen: list[int] = []
    target = place / "here.gguf"
    size = caller.save_package_file(
        task_of(path), FILE, target, progress=lambda done, total: seen.append(done)
    )
    assert (size, target.read_bytes(), cut.cuts) == (len(CONTENT), CONTENT, [])
    assert seen == sorted(seen), "nothing came twice"
    assert cut.bytes < 1.5 * len(CONTENT), "what was here was not fetched again"
    assert list(place.glob(".*.part")) == []


def test_what_was_cut_off_by_a_kill_is_gone_on_with(cut: Cut, caller: Client, path: str, place: Path) -> None:
    target = place / "here.gguf"

    def killed(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        caller.save_package_file(task_of(path), FILE, target, progress=killed)
    (part,) = place.iterdir()
    assert not target.exists(), "no half file under the name"
    assert part.name == f".here.gguf.{SHA}.part"
    kept, cut.bytes = part.stat().st_size, 0
    assert kept > len(CONTENT) // 3
    caller.save_package_file(task_of(path), FILE, target)
    assert target.read_bytes() == CONTENT
    assert cut.bytes < len(CONTENT) - kept + 300_000
    assert list(place.iterdir()) == [target]


@pytest.mark.parametrize("fault", ["wrong bytes", "more than it has"])
def test_a_part_that_is_none_of_the_file_is_no_result(
    caller: Client, path: str, place: Path, fault: str
) -> None:
    target = place / "here.gguf"
    part = place / f".here.gguf.{SHA}.part"
    part.write_bytes(b"x" * (1000 if fault == "wrong bytes" else len(CONTENT) + 1))
    if fault == "wrong bytes":
        with pytest.raises(Unavailable, match="did not come as it was stored"):
            caller.save_package_file(task_of(path), FILE, target)
        assert not target.exists()
    caller.save_package_file(task_of(path), FILE, target)
    assert target.read_bytes() == CONTENT


def test_two_that_fetch_the_same_do_not_write_into_each_other(caller: Client, path: str, place: Path) -> None:
    target = place / "here.gguf"
    said: list[Exception] = []

    def other(done: int, total: int) -> None:
        if not said:
            with pytest.raises(NotOurs, match="Another process") as raised:
                caller.save_package_file(task_of(path), FILE, target)
            said.append(raised.value)

    caller.save_package_file(task_of(path), FILE, target, progress=other)
    assert said
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_full_disk_is_said_and_leaves_no_half_file(
    caller: Client, path: str, place: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    target = place / "here.gguf"

    def full(done: int, total: int) -> None:
        if when == "meanwhile":
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "before":
            usage = type("Usage", (), {"free": 1000})()
            patch.setattr(downloading.shutil, "disk_usage", lambda place: usage)
        with pytest.raises(InvalidInput, match="does not hold") as raised:
            caller.save_package_file(task_of(path), FILE, target, progress=full)
    assert "--output" in str(raised.value.hint)
    assert not target.exists()
    caller.save_package_file(task_of(path), FILE, target)
    assert target.read_bytes() == CONTENT


# --- links


def made(bench: Bench, path: str, **given: Any) -> Any:
    answer = bench.client.post(f"{path}/links", json={"file": FILE} | given)
    assert answer.status_code == 201, answer.text
    return answer.json()


def taken(bench: Bench, url: str, **headers: str) -> Any:
    """What somebody without a key gets."""
    with TestClient(bench.plane.app, raise_server_exceptions=False) as stranger:
        return stranger.get(url.removeprefix(bench.plane.settings.public_url), headers=headers)


def test_a_link_hands_out_its_file_to_who_has_no_key(bench: Bench, path: str) -> None:
    link = made(bench, path)
    found = taken(bench, link["url"])
    assert (found.status_code, found.content, found.headers["etag"]) == (200, CONTENT, ETAG)
    assert taken(bench, link["url"], Range="bytes=7-9").content == CONTENT[7:10]
    assert (link["bytes"], link["sha256"]) == (len(CONTENT), SHA)
    assert bench.plane.api_key not in link["url"]
    stranger = TestClient(bench.plane.app)
    assert stranger.post(f"{path}/links", json={"file": FILE}).status_code == 401


def test_a_link_is_bound_to_one_file_and_to_every_character(bench: Bench, path: str) -> None:
    url = made(bench, path)["url"]
    start, token, name = url.rsplit("/", 2)
    assert taken(bench, f"{start}/{token}/README.md").status_code == 401
    for place in (*range(0, len(token), 7), len(token) - 1):
        other = "A" if token[place] != "A" else "B"
        changed = f"{start}/{token[:place]}{other}{token[place + 1 :]}/{name}"
        assert taken(bench, changed).status_code == 401, place
    for none in ("x", ".x", "a.b", "é.é", "A" * 1999, token.replace(".", "")):
        assert taken(bench, f"{start}/{none}/{name}").status_code == 401, none
    for file in ("t-8.gguf", "../x", "failed/t-8.gguf.failed", "manifest.json"):
        assert bench.client.post(f"{path}/links", json={"file": file}).status_code == 404, file
    for seconds in (0, 59, 604_801):
        assert bench.client.post(f"{path}/links", json={"file": FILE, "seconds": seconds}).status_code == 422


def test_a_link_runs_out(bench: Bench, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = made(bench, path, seconds=60)["url"]
    before = links.now()
    monkeypatch.setattr(links, "now", lambda: before + dt.timedelta(seconds=58))
    assert taken(bench, url).status_code == 200
    monkeypatch.setattr(links, "now", lambda: before + dt.timedelta(seconds=61))
    found = taken(bench, url)
    assert (found.status_code, "has run out" in found.text) == (403, True)


@pytest.mark.parametrize("what", ["its key is gone", "the round is raised", "the secret is another"])
def test_a_link_can_be_taken_back(bench: Bench, path: str, what: str, home: Home) -> None:
    url = made(bench, path)["url"]
    assert taken(bench, url).status_code == 200
    if what == "its key is gone":
        digest = hashlib.sha256(bench.plane.api_key.encode()).hexdigest()
        with bench.plane.services.database.write() as session:
            session.delete(session.get(ApiKeyRow, digest))
    elif what == "the round is raised":
        bench.plane.settings.link_round += 1
    else:
        home.report_secret_file.write_text("another")
    if what == "its key is gone":
        found = bench.plane.services.links
        with pytest.raises(Exception, match="does not count"):
            found.read(*url.rsplit("/", 2)[1:])
    else:
        assert taken(bench, url).status_code == 401


def test_a_link_of_another_content_leads_nowhere(bench: Bench, path: str) -> None:
    url = made(bench, path)["url"]
    place = Path(bench.client.get(path).json()["uri"])
    manifest = (place / "manifest.json").read_text().replace(SHA, "0" * 64)
    (place / "manifest.json").write_text(manifest)
    assert taken(bench, url).status_code == 404


def test_a_link_in_the_storage_is_followed_by_nobody(bench: Bench, path: str, tmp_path: Path) -> None:
    """A file that was changed for a link to another is not handed out, with a key or without."""
    url = made(bench, path)["url"]
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    stored = Path(bench.client.get(path).json()["uri"]) / FILE
    stored.unlink()
    stored.symlink_to(secret)
    assert taken(bench, url).status_code == 503
    assert bench.client.get(f"{path}/files/{FILE}").status_code == 503

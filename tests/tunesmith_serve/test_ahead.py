"""What a replica would wait for is made while that is started, once; who comes meanwhile waits, a kill holds nobody."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from asked import served
from attempts import chat_document

from tunesmith.chat.document import ChatDocument
from tunesmith_serve import ahead, gguf_files
from tunesmith_serve.gguf_files import GgufFiles
from tunesmith_serve.once import alone

HOLD = """
import sys, time
from pathlib import Path
from tunesmith_serve.once import alone
with alone(Path(sys.argv[1]), "thing"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_holds_nobody(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    entered = threading.Event()

    def enter() -> None:
        with alone(tmp_path, "thing"):
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    assert not entered.wait(0.3)
    with alone(tmp_path, "another thing"):
        pass
    holder.send_signal(signal.SIGKILL)
    assert entered.wait(10)
    thread.join()
    holder.wait()


def test_two_that_want_one_file_write_it_once(
    chatty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], gguf_files.write_gguf

    def slow(*given: Any, **more: Any) -> Any:
        written.append(given)
        time.sleep(0.2)
        return write(*given, **more)

    monkeypatch.setattr(gguf_files, "write_gguf", slow)
    threads = [
        threading.Thread(target=lambda: GgufFiles(tmp_path / "cache", tmp_path).model(chatty))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1


def document(chatty: Path, place: Path, **more: Any) -> ChatDocument:
    base = served(chatty)
    given = {
        "model_uri": base.model_uri, "training": base.training, "encoder_path": base.encoder_path,
        "cache_dir": str(place / "cache"), "first": served(chatty, "one"),
    }  # fmt: skip
    return ChatDocument.model_validate(chat_document(place).model_dump() | given | more)


def test_the_replica_finds_the_base_and_what_was_asked(chatty: Path, tmp_path: Path) -> None:
    ahead.files(document(chatty, tmp_path))
    made = sorted(file.stat().st_mtime_ns for file in (tmp_path / "cache" / "gguf").glob("*.gguf"))
    assert len(made) == 2
    files = GgufFiles(tmp_path / "cache", tmp_path / "scratch")
    assert files.model(chatty).is_file()
    assert files.adapter(served(chatty, "one")).is_file()
    assert len(list((tmp_path / "cache" / "gguf").glob("*.gguf"))) == 2


def test_nothing_is_made_for_the_library(chatty: Path, tmp_path: Path) -> None:
    ahead.files(document(chatty, tmp_path, spec={"model_name_or_path": "/m", "engine": "transformers"}))
    assert not (tmp_path / "cache" / "gguf").exists()


def test_where_nobody_knows_which_node_serves_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was begun"))
    for uri, nodes in (("/d", [{"Alive": True}, {"Alive": True}]), ("", [{"Alive": True}]), ("/d", [])):
        with ahead.begun(uri, nodes):
            pass


def test_what_fails_is_left_to_the_replica(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of a broken model is said to be done, and nothing is raised."""
    given = chat_document(tmp_path).model_copy(update={"model_uri": str(tmp_path / "gone")})
    asyncio.run(ahead._both(given))
    assert "not done ahead" in caplog.text

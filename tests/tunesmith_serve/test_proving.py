"""The proof of what chats answer with: found once, by what it is about; what is not the model fails it."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import engine_cases
import gguf_faults
import pytest
from kept_outlet import KeptOutlet

from tunesmith.chat.document import ProveDocument
from tunesmith.chat.proof import ProofState
from tunesmith.events import ModelProven
from tunesmith_jobs.models.busy import Busy, GivingWay
from tunesmith_jobs.models.gguf_proof import prover
from tunesmith_jobs.program import WorkerContext
from tunesmith_serve.proving import Proving

pytest.importorskip("xllamacpp")


@pytest.fixture(autouse=True)
def _priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own stays."""
    monkeypatch.setattr("os.nice", lambda by: 0)


def prove(place: Path, base: Path, adapter: str | None = None) -> ModelProven:
    """What the work of one attempt says."""
    folder = base.parent / adapter if adapter else None
    given = engine_cases.document(base, folder)
    own = {
        "kind": "prove",
        "spec": {"model_name_or_path": given.model_uri},
        "work_dir": str(place),
        "cache_dir": str(place / "cache"),
    }
    document = ProveDocument.model_validate(given.model_dump() | own)
    outlet: Any = KeptOutlet()
    Proving().work(document, outlet, WorkerContext(scratch=place / f"scratch-{time.monotonic_ns()}"))
    (found,) = (one for one in outlet.said if isinstance(one, ModelProven))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proofs")


def beside(place: Path, other: Path) -> Path:
    """Another node's folder, with the files that are made once and without what was found."""
    shutil.copytree(place / "cache", other / "cache")
    shutil.rmtree(other / "cache" / "proofs")
    return other


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, "one"])
def test_a_base_and_an_adapter_over_it_are_proven_once(
    chatty: Path, place: Path, adapter: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = prove(place, chatty, adapter)
    assert found.state is ProofState.PROVEN, found
    assert (found.engine, found.file_type, found.conversations) == ("llama_cpp", "F16", 32)
    assert found.tokens >= 1000
    assert found.kl_mean is not None
    assert found.kl_mean < 1e-4
    assert str(found.tokens) in found.words["en"]
    assert str(found.tokens) in found.words["zh"]
    monkeypatch.setattr(prover, "Reference", None)  # whoever computes it once more fails
    assert prove(place, chatty, adapter) == found


def test_what_the_library_answers_has_nothing_to_be_held_against(chatty: Path, place: Path) -> None:
    assert prove(place, chatty, "dora").state is ProofState.SAME_ENGINE


def test_memory_that_does_not_hold_the_model_is_said_and_asked_for_again(
    chatty: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove(place, chatty)
    monkeypatch.setattr(prover, "spare_memory", lambda: 1000)
    found = prove(beside(place, tmp_path), chatty)
    assert found.state is ProofState.UNPROVEN
    assert "needs 0.5 GB" in found.words["en"]
    assert not (tmp_path / "cache" / "proofs").exists()


@pytest.mark.slow
def test_a_file_that_is_not_the_model_fails(chatty: Path, place: Path, tmp_path: Path) -> None:
    assert prove(place, chatty).state is ProofState.PROVEN
    files = (beside(place, tmp_path) / "cache" / "gguf").glob("*.gguf")
    file = max(files, key=lambda file: file.stat().st_size)
    gguf_faults.rewritten(file, tmp_path / "other.gguf", gguf_faults.swapped).replace(file)
    found = prove(tmp_path, chatty)
    assert found.state is ProofState.FAILED
    assert "not the model's" in found.words["en"]


def test_it_waits_while_answers_are_asked_where_processors_are_few(tmp_path: Path) -> None:
    busy = Busy(tmp_path)
    busy.note("replica")
    assert busy.is_asked()
    began = time.monotonic()
    threading.Timer(0.5, busy.over, ("replica",)).start()
    GivingWay(tmp_path, cpus=2)()
    assert 0.3 < time.monotonic() - began < 2
    busy.note("replica")
    GivingWay(tmp_path, cpus=64)()
    assert busy.is_asked(), "where there are many it does not wait"

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        GivingWay(tmp_path, stop, cpus=2)()


def test_a_replica_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    busy = Busy(tmp_path)
    busy.note("replica")
    os.utime(tmp_path / "answering" / "replica", (time.time() - 10, time.time() - 10))
    assert not busy.is_asked()

"""Models that are not written here, by a converter of somebody else's: started apart, bounded, its file proven."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from trained import Trained

from tunesmith.gguf import architectures
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs.models.gguf_proof.proof import Proof
from tunesmith_jobs.package import converter

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.usefixtures("one_thread")
TESTS = Path(__file__).parents[1]
STAND_IN = TESTS / "converter_stand_in.py"


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Trained:
    return Trained(
        tmp_path_factory.mktemp("converted") / "run", model, target_modules=["q_proj", "down_proj"]
    )


@pytest.fixture(autouse=True)
def _unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here no architecture is written; in the program of its own they are."""
    monkeypatch.setattr(architectures, "ARCHITECTURES", {})


def packaged(
    trained: Trained, *behave: str, start: tuple[str, ...] | None = None, **given: Any
) -> tuple[Outcome, Any]:
    command = [*(start or (sys.executable, str(STAND_IN))), *behave]
    wanted = {"preset": "merge_and_quantize", "quant_types": ["F16"], "external_converter": True} | given
    outcome, ear, _ = trained.use("package", converter=command, **wanted)
    return outcome, ear


@pytest.mark.slow
def test_what_it_writes_is_proven_as_every_file_is(
    lora: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an adapter that is merged first; and it sees neither secrets nor what else lies in a folder."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    (lora.base / "notes.txt").write_text("of its owner alone")
    outcome, ear = packaged(lora, "--note", str(tmp_path / "note"), quant_types=["F16", "Q8_0"])
    assert outcome.reason is Reason.COMPLETED, outcome
    folder = Path(str(outcome.model_uri))
    (made,) = [one for one in ear.heard if one.kind == "package_made"]
    assert [(one.name, one.verdict) for one in made.files] == [
        ("run-4-F16.gguf", "proven"),
        ("run-4-Q8_0.gguf", "proven"),
    ]
    proof = Proof.model_validate_json((folder / "run-4-F16.gguf.proof.json").read_bytes())
    assert {check.name for check in proof.checks} == {
        "reads", "ids", "conversations", "ends", "context", "finite", "kl", "top1", "greedy",
    }  # fmt: skip
    assert proof.difference is not None
    assert proof.difference.kl_mean < 1e-4
    assert "its tensors were not compared one by one" in proof.sentence["en"]
    assert "未逐个比对张量" in proof.sentence["zh"]
    assert all(not one.served_like and not one.key for one in made.files), "chats write theirs otherwise"
    seen = json.loads((tmp_path / "note").read_text())
    assert "notes.txt" not in seen["files"]
    assert {"config.json", "tokenizer.json", "chat_template.jinja"} <= set(seen["files"])
    assert not {"HF_TOKEN", "TUNESMITH_API_KEY"} & set(seen["environment"])
    assert {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} <= set(seen["environment"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behave", "words"),
    [
        ("fails", "wrote no file; it ended with 1: Model FooForCausalLM is not supported"),
        ("scaled", "is not the model and is not offered: KL"),
        ("huge", "wrote 17.2 GB of a model of 0.0 GB"),
        ("hangs", "did not come to an end in its time"),
    ],
)
def test_what_goes_wrong_in_it_is_no_result(
    lora: Trained, behave: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if behave == "hangs":
        monkeypatch.setattr(converter, "_LEAST_SECONDS", 3.0)
    note = tmp_path / "note"
    outcome, _ = packaged(lora, "--behave", behave, "--note", str(note))
    assert outcome.reason is (Reason.BAD_MODEL if behave == "scaled" else Reason.BAD_PARAMETERS), outcome
    assert words in outcome.message
    with pytest.raises(ProcessLookupError):
        os.kill(json.loads(note.read_text())["pid"], 0)


def test_other_types_and_other_programs_are_refused(lora: Trained) -> None:
    outcome, _ = packaged(lora, quant_types=["Q4_K_M"])
    assert "llama.cpp's converter writes F32, F16, BF16, Q8_0, and no `Q4_K_M`" in outcome.message
    outcome, _ = packaged(lora, start=("/nowhere/convert-hf-to-gguf",))
    assert "wrote no file" in outcome.message


def test_without_one_the_model_is_refused(lora: Trained) -> None:
    outcome, _, _ = lora.use("package", preset="merge_and_quantize", quant_types=["F16"])
    assert "`model_type` in `config.json` is `llama`" in outcome.message
    assert "external_converter" in outcome.message


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends it there")
def test_it_ends_with_the_worker_that_asked_for_it(tmp_path: Path) -> None:
    """A worker is killed: what it started is no orphan that goes on writing."""
    note = tmp_path / "note"
    child = Path(converter.__file__).with_name("converter_child.py")
    stand_in = [
        sys.executable,
        str(STAND_IN),
        str(tmp_path),
        "--outfile",
        str(tmp_path / "f"),
        "--outtype",
        "f16",
    ]
    stand_in += ["--behave", "hangs", "--note", str(note)]
    asks = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, {str(child)!r}, str(os.getpid()), *{stand_in!r}])\n"
        "time.sleep(600)"
    )
    worker = subprocess.Popen([sys.executable, "-c", asks])
    while not note.is_file() or not note.read_text():
        time.sleep(0.05)
    pid = json.loads(note.read_text())["pid"]
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and Path(f"/proc/{pid}/cmdline").exists() and _runs(pid):
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

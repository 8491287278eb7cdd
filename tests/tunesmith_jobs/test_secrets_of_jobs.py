"""Whoever's words a job passes on: no secret that it was given leaves it with them."""

import datetime as dt
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from canaries import canary, files_below, leaks, tell_tale
from fake_plane import make_document
from kept_outlet import KeptOutlet

from tunesmith.errors import TunesmithError
from tunesmith.events import JobPayload, LogLine, SampleAnswer, SamplesAnswered, TrainingStarted, Warned
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.data.program import with_environment
from tunesmith_jobs.document import write_outcome
from tunesmith_jobs.failures import outcome_of
from tunesmith_jobs.logs import captured, log_to_output
from tunesmith_jobs.spool import Spool
from tunesmith_jobs.train.telemetry.trackers import Run, Tee

NAME = "SOME_API_KEY"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(NAME, value := canary())
    return value


PAYLOADS: list[Callable[[str], JobPayload]] = [
    lambda words: LogLine(source="driver", message=words),
    lambda words: Warned(code="tracker_failed", message=words, hint=words),
    lambda words: Outcome.because(Reason.USER_CODE, words).finished(),
    lambda words: SamplesAnswered(
        step=1, answers=[SampleAnswer(prompt=words, text=words, finish_reason="stop")]
    ),
]


@pytest.mark.parametrize("made", PAYLOADS)
def test_what_it_reports_holds_none(tmp_path: Path, secret: str, made: Callable[[str], JobPayload]) -> None:
    spool = Spool(tmp_path, 1)
    spool.append(made(f'the service said: "{secret}" is wrong'), dt.datetime.now(dt.UTC))
    sent = spool.read(0, 10, 10**6)
    substitute = spool.substitute(1, LogLine(source="platform", message=secret))
    spool.close()
    assert b"is wrong" in sent[0]
    assert json.loads(sent[0])["seq"] == 1
    assert leaks({NAME: secret}, files_below(tmp_path) | {"sent": sent[0], "again": substitute}) == []


def test_the_outcome_that_it_leaves_holds_none(tmp_path: Path, secret: str) -> None:
    document = make_document(tmp_path, "http://127.0.0.1:9", spec={"model": "m", "train_file": "/t"})
    Path(document.work_dir).mkdir(parents=True, exist_ok=True)
    write_outcome(document, Outcome.because(Reason.USER_CODE, f"refused {secret}"))
    left = files_below(tmp_path)
    assert any(b"refused ***" in data for data in left.values())
    assert leaks({NAME: secret}, left) == []


@pytest.mark.parametrize("error", [ValueError, TunesmithError, KeyError])
def test_why_it_failed_holds_no_key_that_nobody_named(error: type[Exception]) -> None:
    """Another one's key may stand in a service's answer too: what looks like one is hidden."""
    said = (
        outcome_of(error("Authorization: Bearer abcdef0123456789 of http://u:hunter22@host/x")).message or ""
    )
    assert "abcdef0123456789" not in said
    assert "hunter22" not in said


def test_a_token_may_lie_in_a_file_and_what_is_no_token_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(value := canary("hf"))
    monkeypatch.setenv("HUB_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("DATA_FOLDER", "/data/of/everybody")
    given = {"token": "${env.HUB}", "path": "${env.DATA_FOLDER}/rows.jsonl", "name": "${env.HUB}"}
    found = with_environment(given, ["HUB", "DATA_FOLDER"])
    assert found == {"token": value, "path": "/data/of/everybody/rows.jsonl"}, (
        "a file is no parameter's but a token's"
    )
    said = outcome_of(ValueError(f"{value} may not read /data/of/everybody/rows.jsonl")).message
    assert said == "*** may not read /data/of/everybody/rows.jsonl"


def test_a_tracker_that_is_refused_leaves_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's own process logs each answer beside the run, and the key goes to it in base64."""
    (tmp_path / "key").write_text(value := canary("w")[:40].ljust(40, "0"))
    monkeypatch.setenv("WANDB_API_KEY_FILE", str(tmp_path / "key"))
    spec = TrainSpec.read({"model": "m", "train_file": "t.jsonl", "report_to": ["wandb"]})
    outlet, left = KeptOutlet(), tmp_path / "artifacts"
    with tell_tale() as outside:
        monkeypatch.setenv("WANDB_BASE_URL", outside.url)
        tee = Tee(outlet, Run(spec, "task-1", "named", str(left), tmp_path / "scratch"))
        tee.emit(TrainingStarted(step=0, total_steps=3))
        tee.close()
        assert outside.was_told(value)
    found = files_below(left) | {"said": str(outlet.said).encode()}
    assert any(place.endswith("debug-internal.log") for place in found)
    assert "tracker_failed" in str(outlet.said)
    assert leaks({"the key": value}, found) == []


def test_its_log_holds_none(
    secret: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = KeptOutlet()
    with captured(outlet, "info", "driver"):
        logging.getLogger("tunesmith_jobs.some").warning("at http://h/x?token=%s", "t0psecret")
    assert "t0psecret" not in str(outlet.said)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    log_to_output()
    logging.getLogger("tunesmith_jobs.entry").error("the job could not be run: %s", secret)
    said = capsys.readouterr().err
    assert "could not be run: ***" in said

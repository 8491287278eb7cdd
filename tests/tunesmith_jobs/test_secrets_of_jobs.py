"""Whoever's words a job passes on: no secret that it was given leaves it with them."""

import datetime as dt
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from canaries import canary, files_below, leaks
from fake_plane import make_document
from kept_outlet import KeptOutlet

from tunesmith.errors import TunesmithError
from tunesmith.events import JobPayload, LogLine, SampleAnswer, SamplesAnswered, Warned
from tunesmith.lifecycle import Reason
from tunesmith.outcome import Outcome
from tunesmith_jobs.document import write_outcome
from tunesmith_jobs.failures import outcome_of
from tunesmith_jobs.logs import captured, log_to_output
from tunesmith_jobs.spool import Spool

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

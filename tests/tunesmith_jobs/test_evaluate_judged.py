"""A judge beside the other scores of an evaluation: its key, its order, its absence."""

import csv
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from compared import SAMPLES, Asked
from judge_endpoint import JudgeEndpoint, first_place, judging, prefers

from tunesmith.evaluation.comparison import compare
from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith.events import EvaluationMade, Metrics, Scored
from tunesmith.lifecycle import State
from tunesmith.outcome import Outcome

CANARY = "sk-canary-0123456789"


@pytest.fixture
def endpoint() -> Iterator[JudgeEndpoint]:
    with judging() as made:
        yield made


def judged_by(asked: Asked, url: str, **more: Any) -> Outcome:
    settings = JudgeSettings(base_url=url, model="judge-1", key_variable="JUDGE_KEY")
    return asked.run(judge=settings, judge_base_url=url, judge_model="judge-1", **more)


def test_a_judge_gives_a_score_of_its_own_and_its_key_is_nowhere(
    asked: Asked, endpoint: JudgeEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", CANARY)
    endpoint.reply = prefers(SAMPLES[0][1])
    with caplog.at_level(logging.DEBUG):
        assert judged_by(asked, endpoint.url).outcome is State.COMPLETED
    assert set(endpoint.keys) == {f"Bearer {CANARY}"}
    (made,) = asked.said(EvaluationMade)
    assert made.judge_seconds > 0, "the forecast of the next one knows how long a verdict takes"
    result = asked.result
    assert {one.means["judge"] for one in result.candidates} == {5 / 6 * 0.5}
    assert f"; judge judge-1 at {endpoint.url} (" in result.scorers
    assert "judge" not in result.weights
    folder = asked.folder / "artifacts" / "evaluation"
    for name in ("answers.csv", "candidates.csv"):
        rows = list(csv.DictReader((folder / name).open(encoding="utf-8")))
        assert any(cell for column, cell in rows[0].items() if "judge" in column)
    assert "评审模型" in (folder / "report-zh.html").read_text(encoding="utf-8")
    assert all("evaluation/judge" in one.values for one in asked.said(Metrics))
    assert {one.means.get("judge") for one in asked.said(Scored)[-3:]} == {5 / 6 * 0.5}
    told = caplog.text + "".join(one.model_dump_json() for one in asked.outlet.said)
    assert CANARY not in told
    files = [file for file in asked.folder.rglob("*") if file.is_file()]
    assert len(files) > 8
    assert [file for file in files if CANARY.encode() in file.read_bytes()] == []

    endpoint.asked.clear()
    before = result.candidates[1].means["composite"]
    judged_by(asked, endpoint.url, attempt=2, composite_weights={"judge": 1})
    assert endpoint.asked == [], "verdicts are kept"
    assert asked.result.candidates[1].means["composite"] == pytest.approx(5 / 6 * 0.5) != before


def test_a_judge_that_looks_at_the_order_is_told_of(
    asked: Asked, endpoint: JudgeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", CANARY)
    endpoint.reply = first_place
    judged_by(asked, endpoint.url)
    assert {one.means["judge"] for one in asked.result.candidates} == {0.5}
    assert asked.warned() == ["judge_swayed"]
    assert asked.result.comparison is not None
    assert compare(
        asked.result.candidates, score="judge", split=[one.id for one in asked.result.samples]
    ).pairs


@pytest.mark.parametrize("key", [CANARY, None], ids=["away", "without its key"])
def test_a_judge_that_cannot_be_asked_costs_its_score_alone(
    asked: Asked, endpoint: JudgeEndpoint, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key or "")
    asked.run()
    before = asked.result
    endpoint.reply = lambda text: (404, {})
    assert judged_by(asked, endpoint.url, attempt=2).outcome is State.COMPLETED
    assert asked.warned() == ["judge_away"]
    assert [one.means for one in asked.result.candidates] == [one.means for one in before.candidates]
    assert asked.result.comparable_by == before.comparable_by
    reasons = {answer.skipped["judge"] for one in asked.result.candidates for answer in one.answers}
    assert reasons == {
        "The judge gives no verdict: it answers with status 404."
        if key
        else "The environment variable `JUDGE_KEY` holds no key of the judge."
    }


def test_a_judge_that_is_listed_no_more_is_told_of(asked: Asked) -> None:
    asked.run(judge_base_url="http://127.0.0.1:9/v1", judge_model="m")
    assert asked.warned() == ["judge_away"]
    assert "judge" not in asked.result.candidates[0].means

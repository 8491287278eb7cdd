"""Answers that a judge on this machine rates: what is asked, what is kept, and what a judge that fails costs."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_endpoint import JudgeEndpoint, answers_in, first_place, judging, prefers

from tunesmith.activity import ActivityKind, Unit
from tunesmith.evaluation.results import Answer, Candidate, CandidateResult, Sample, Turn
from tunesmith.evaluation.scores.judge import JudgeSettings
from tunesmith_jobs.activities import Doing
from tunesmith_jobs.evaluate.judging import AT_A_TIME, Judged, Judging
from tunesmith_jobs.failures import Stopped

SAMPLES = [
    Sample(
        id=f"{number}", turns=(Turn(role="user", content=f"Question {number}?"),), reference=f"right {number}"
    )
    for number in range(6)
]


def result(key: str, *texts: str) -> CandidateResult:
    answers = [
        Answer(sample_id=sample.id, text=text, tokens=1, finish_reason="stop", scores={"format": 0.5})
        for sample, text in zip(SAMPLES, texts, strict=False)
    ]
    return CandidateResult(candidate=Candidate(key=key, label=key), answers=tuple(answers))


def scores(judged: Judged) -> list[list[float | None]]:
    return [[answer.scores.get("judge") for answer in one.answers] for one in judged.results]


def reasons(judged: Judged) -> set[str]:
    return {answer.skipped["judge"] for one in judged.results for answer in one.answers if answer.skipped}


@pytest.fixture(autouse=True)
def _waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_wait(_self: object, _seconds: float) -> None: ...

    from tunesmith.evaluation.scores.judge import Judge

    real = Judge.__init__
    monkeypatch.setattr(
        Judge, "__init__", lambda self, settings: real(self, settings, lambda s: no_wait(self, s))
    )


@pytest.fixture
def endpoint() -> Iterator[JudgeEndpoint]:
    with judging() as made:
        yield made


@pytest.fixture
def rate(endpoint: JudgeEndpoint, tmp_path: Path) -> Callable[..., Judged]:
    def run(
        *results: CandidateResult,
        url: str = endpoint.url,
        samples: list[Sample] = SAMPLES,
        check: Callable[[], None] = lambda: None,
        doing: Doing | None = None,
    ) -> Judged:
        judge = Judging(JudgeSettings(base_url=url, model="m"), tmp_path, results, samples)
        return judge.run(check, doing or Doing(ActivityKind.JUDGING, Unit.ROWS, judge.total, None))

    return run


def test_each_answer_is_rated_against_the_expected_one(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint
) -> None:
    endpoint.reply = prefers("right")
    found = rate(result("base", "wrong", "also wrong"), result("c-1", "wrong", "right 1", "right, too"))
    assert scores(found) == [[0, 0], [0, 0.5, 0.5]]
    assert (found.rated, found.unrated, found.swayed, found.problem) == (5, 0, 0, "")
    assert found.results[0].answers[0].scores["format"] == 0.5
    endpoint.reply = prefers("better")
    assert scores(rate(result("c-2", "better"))) == [[1]]


def test_a_judge_that_always_prefers_the_first_says_nothing(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint
) -> None:
    endpoint.reply = first_place
    found = rate(result("base", "a", "b", "c"))
    assert scores(found) == [[0.5, 0.5, 0.5]]
    assert found.swayed == 3


def test_nothing_is_asked_twice(rate: Callable[..., Judged], endpoint: JudgeEndpoint) -> None:
    """Neither the same answer of two candidates, nor what another evaluation asked."""
    endpoint.reply = prefers("right")
    rate(result("base", "a", "b"), result("c-1", "a", "b"))
    assert len(endpoint.asked) == 4
    found = rate(result("c-2", "a", "b", "c"))
    assert len(endpoint.asked) == 6
    assert scores(found) == [[0, 0, 0]]
    endpoint.reply = first_place
    assert scores(rate(result("c-2", "a", "b", "c"))) == [[0, 0, 0]]


def test_a_few_at_a_time(rate: Callable[..., Judged], endpoint: JudgeEndpoint) -> None:
    all_there = threading.Barrier(AT_A_TIME, timeout=10)
    texts = [f"a {number}" for number in range(AT_A_TIME)]
    samples = [SAMPLES[0].model_copy(update={"id": str(number)}) for number in range(AT_A_TIME)]

    def reply(text: str) -> tuple[int, str]:
        all_there.wait()
        return 200, '{"winner": "tie"}'

    endpoint.reply = reply
    assert rate(result("base", *texts), samples=samples).rated == AT_A_TIME
    assert endpoint.most_at_once == AT_A_TIME
    endpoint.reply = lambda text: (200, '{"winner": "tie"}')
    rate(result("base", *(f"b {number}" for number in range(6))))
    assert endpoint.most_at_once == AT_A_TIME


def test_who_said_what_is_asked_with_it(rate: Callable[..., Judged], endpoint: JudgeEndpoint) -> None:
    turns = (
        Turn(role="system", content="Be brief."), Turn(role="user", content="Hi"),
        Turn(role="assistant", content="Hello"), Turn(role="user", content="Where?"),
    )  # fmt: skip
    rate(result("base", "x"), samples=[SAMPLES[0].model_copy(update={"turns": turns})])
    text = endpoint.asked[0]["messages"][0]["content"]
    assert "system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Where?" in text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((503, {}), "The judge gives no verdict: it answers with status 503."),
        ((401, {}), "The judge gives no verdict: it answers with status 401."),
        ((200, b"<html>"), "The judge's reply is no JSON."),
    ],
)
def test_a_judge_that_is_away_is_given_up(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint, reply: tuple[int, object], words: str
) -> None:
    endpoint.reply = lambda text: reply
    found = rate(result("base", *"abcdef"), result("c-1", *"ghijkl"))
    assert scores(found) == [[None] * 6] * 2
    assert (found.rated, found.unrated, found.problem) == (0, 12, words)
    assert reasons(found) == {words}
    assert len({answers_in(one["messages"][0]["content"]) for one in endpoint.asked}) <= 3 + AT_A_TIME
    assert found.results[0].answers[0].scores == {"format": 0.5}


def test_nobody_there_is_said(rate: Callable[..., Judged]) -> None:
    found = rate(result("base", "a"), url="http://127.0.0.1:9/v1")
    assert reasons(found) == {"The judge gives no verdict: it cannot be asked (ConnectError)."}


def test_one_reply_that_is_none_costs_its_answer_alone_and_is_asked_again(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint
) -> None:
    def reply(text: str) -> tuple[int, str]:
        return 200, "I like both." if "odd" in text else '{"winner": "tie"}'

    endpoint.reply = reply
    found = rate(result("base", *"abcd", "odd", "f"))
    assert scores(found) == [[0.5] * 4 + [None, 0.5]]
    assert (found.rated, found.unrated, found.problem) == (5, 1, "The judge's reply names no winner.")
    endpoint.reply = prefers("odd")
    assert scores(rate(result("base", *"abcd", "odd", "f"))) == [[0.5] * 4 + [1, 0.5]]


def test_without_a_reference_there_is_nothing_to_rate(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint
) -> None:
    found = rate(result("base", "a"), samples=[SAMPLES[0].model_copy(update={"reference": " "})])
    assert reasons(found) == {"The reference answer is empty."}
    assert (found.rated, found.unrated, endpoint.asked) == (0, 0, [])


def test_a_stop_waits_for_no_judge_and_keeps_what_it_said(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint
) -> None:
    hangs, ended = threading.Event(), threading.Event()

    def reply(text: str) -> tuple[int, str]:
        if "slow" in text:
            hangs.set()
            ended.wait(10)
        return 200, json.dumps({"winner": "tie"})

    def check() -> None:
        if hangs.is_set() and doing.done == 1:
            raise Stopped("Stopped on request.")

    endpoint.reply = reply
    doing = Doing(ActivityKind.JUDGING, Unit.ROWS, 2, None)
    try:
        with pytest.raises(Stopped):
            rate(result("base", "quick", "slow"), check=check, doing=doing)
        assert endpoint.at_once == 1, "the stop did not wait for it"
    finally:
        ended.set()
    endpoint.asked.clear()
    endpoint.reply = prefers("slow")
    assert scores(rate(result("base", "quick", "slow"))) == [[0.5, 1]]
    assert len(endpoint.asked) == 2


def test_what_is_kept_that_cannot_be_read_is_asked_again(
    rate: Callable[..., Judged], endpoint: JudgeEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = prefers("right")
    rate(result("base", "a"))
    (file,) = tmp_path.glob("verdicts-*.jsonl")
    file.write_bytes(file.read_bytes()[:-20] + b'\n{"key": "x", "winner": "nobody", "is_swayed": 0}\n\xff')
    assert scores(rate(result("base", "a"))) == [[0]]
    assert len(endpoint.asked) == 4

"""Scorers of users: what each kind says, what is refused, and that none of them holds the evaluation up."""

import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tunesmith.errors import InvalidInput
from tunesmith.evaluation.results import Answer, Sample, Turn
from tunesmith.evaluation.scores import ScoreOptions, custom, score
from tunesmith.evaluation.scores.custom import MOST_CHARACTERS, CustomScorers, read_scorers

FILE = r"""
scorers:
  - {name: cites, kind: regex, pattern: '\[\d+\]'}
  - {name: polite, kind: regex, pattern: 'you idiot|笨蛋', ignore_case: true, negate: true}
  - {name: number, kind: regex, pattern: '\d+', match: whole}
  - {name: cities, kind: contains, words: [Paris, 北京], need: share}
  - {name: no_excuse, kind: contains, words: [sorry, 抱歉], need: none}
  - {name: yes_said, kind: equals, value: 'Yes'}
  - {name: same, kind: equals, samples: named}
  - name: person
    kind: json_schema
    schema: {type: object, required: [name], properties: {name: {type: string, pattern: '^[A-Z]'}}}
"""
SAMPLE = Sample(id="0123456789abcdef", turns=(Turn(role="user", content="?"),), reference="巴黎 Paris")


def said(text: str) -> Answer:
    return Answer(sample_id=SAMPLE.id, text=text, tokens=1, finish_reason="stop")


@pytest.fixture(scope="module")
def scorers() -> Iterator[CustomScorers]:
    with CustomScorers(read_scorers(FILE)) as found:
        found.check()
        yield found


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("cites", "See [12].", "See 12."),
        ("polite", "you are right", "You IDIOT"),
        ("polite", "你说得对", "你这笨蛋"),
        ("number", "42", "42."),
        ("no_excuse", "Here it is.", "Sorry, no."),
        ("no_excuse", "好的", "抱歉，不行"),
        ("yes_said", " ｙｅｓ\n", "Yes, sir"),
        ("same", "巴黎  paris", "Paris"),
        ("person", '{"name": "Ada"}', '{"name": "ada"}'),
        ("person", '```json\n{"name": "Ada"}\n```', "Ada"),
    ],
)
def test_each_kind_tells_good_from_bad(scorers: CustomScorers, name: str, good: str, bad: str) -> None:
    assert scorers.scorers[name](SAMPLE, said(good)) == 1
    assert scorers.scorers[name](SAMPLE, said(bad)) == 0


def test_a_share_is_between(scorers: CustomScorers) -> None:
    assert scorers.scorers["cities"](SAMPLE, said("Paris!")) == 0.5


def test_they_are_scores_beside_the_others(scorers: CustomScorers) -> None:
    options = ScoreOptions(custom=scorers.scorers, named_only=scorers.named_only, weights={"cites": 1.0})
    scores, _ = score(SAMPLE, said("See [1]."), options)
    assert scores["cites"] == scores["composite"] == 1
    assert "same" not in scores
    scores, _ = score(SAMPLE.model_copy(update={"checks": ("same", "json")}), said("巴黎 Paris"), options)
    assert (scores["same"], scores["instructions"]) == (1, 0)


def test_the_version_tells_definitions_apart(scorers: CustomScorers) -> None:
    other = CustomScorers(read_scorers(FILE.replace("idiot", "fool")))
    assert scorers.version == CustomScorers(read_scorers(FILE)).version != other.version


SLOW = r"""
scorers:
  - {name: slow, kind: regex, pattern: '(a+)+$'}
  - {name: slow_schema, kind: json_schema, schema: {type: string, pattern: '(a+)+$'}}
  - {name: quick, kind: regex, pattern: 'a'}
"""


def test_a_pattern_without_end_costs_its_time_and_nothing_else() -> None:
    """It gives no score, says why, and is given up after three answers; the others go on in a new process."""
    text = "a" * 40 + "b"
    with CustomScorers(read_scorers(SLOW), seconds=0.1) as found:
        for asked in (said(text), said(text), said(text)):
            assert "processor time" in str(found.scorers["slow"](SAMPLE, asked))
            assert found.scorers["quick"](SAMPLE, asked) == 1
        assert "given up" in str(found.scorers["slow"](SAMPLE, said("a")))
        assert "processor time" in str(found.scorers["slow_schema"](SAMPLE, said(f'"{text}"')))
        assert found.scorers["slow_schema"](SAMPLE, said('"a"')) == 1


def test_a_schema_fetches_nothing() -> None:
    """The library would ask an address that a `$ref` names; here it has no registry to find one by."""
    text = "scorers: [{name: far, kind: json_schema, schema: {'$ref': 'http://127.0.0.1:9/schema.json'}}]"
    with CustomScorers(read_scorers(text)) as found:
        assert "Unresolvable" in str(found.scorers["far"](SAMPLE, said("1")))


def test_the_process_has_no_secrets_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    found = CustomScorers(read_scorers(SLOW))
    assert found.scorers["quick"](SAMPLE, said("a")) == 1
    child = found._lookup._child
    assert child is not None
    assert b"s3cret" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    found.close()
    assert child.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.mark.parametrize(
    ("definition", "place"),
    [
        ("kind: regex, pattern: '('", "scorers.bad.pattern"),
        ("kind: json_schema, schema: {type: nothing}", "scorers.bad.schema"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_start(definition: str, place: str) -> None:
    with (
        CustomScorers(read_scorers(f"scorers: [{{name: bad, {definition}}}]")) as found,
        pytest.raises(InvalidInput, match="`bad` cannot be used") as refused,
    ):
        found.check()
    assert refused.value.problems[0].field == place


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "scorers: []", "scorers: {", "a: &x 1\nb: *x", "scorers: [{name: a}]", "x" * (MOST_CHARACTERS + 1),
        "scorers: [{name: a, kind: shell, command: ls}]",
        "scorers: [{name: a, kind: regex, patern: x}]",
        "scorers: [{name: A b, kind: regex, pattern: x}]",
        "scorers: [{name: rouge_l, kind: regex, pattern: x}]",
        "scorers: [{name: words, kind: regex, pattern: x}]",
        "scorers: [{name: a, kind: regex, pattern: x}, {name: a, kind: regex, pattern: y}]",
        "scorers: [{name: a, kind: contains, words: []}]",
        "scorers: [{name: a, kind: installed, path: /tmp/x.py}]",
        "scorers: [{name: a, kind: json_schema, schema: {const: 2024-01-01}}]",
        "scorers: [{name: a, kind: json_schema, schema: " + "[" * 5000,
        "scorers: !!python/object/apply:os.getcwd []",
    ],
)  # fmt: skip
def test_what_is_no_file_of_scorers_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_scorers(text)


def _offered(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    points = [EntryPoint("their_scorer", value, custom.GROUP)]
    monkeypatch.setattr(
        custom, "entry_points", lambda group, name: [one for one in points if one.name == name]
    )


def their_scorer(sample: Sample, answer: Answer) -> object:
    """What an installed package would offer."""
    if answer.text == "fail":
        raise RuntimeError("no luck")
    return {"half": 0.5, "much": 2, "nothing": None}[answer.text]


def test_an_installed_scorer_is_asked_where_the_administrator_lists_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    sys.modules.setdefault("their_package", sys.modules[__name__])
    _offered(monkeypatch, "their_package:their_scorer")
    text = "scorers: [{name: theirs, kind: installed, scorer: their_scorer}]"
    with pytest.raises(InvalidInput, match="not on the administrator's list"):
        CustomScorers(read_scorers(text))
    with pytest.raises(InvalidInput, match="No installed packages"):
        CustomScorers(read_scorers(text.replace("scorer: their", "scorer: no")), ["no_scorer"])
    found = CustomScorers(read_scorers(text), ["their_scorer"]).scorers["theirs"]
    assert found(SAMPLE, said("half")) == 0.5
    assert (
        found(SAMPLE, said("much"))
        == found(SAMPLE, said("nothing"))
        == ("The scorer `theirs` gave no number from 0 to 1.")
    )
    assert found(SAMPLE, said("fail")) == "The scorer `theirs` failed: RuntimeError: no luck."


def test_a_package_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _offered(monkeypatch, "no_such_package:scorer")
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        CustomScorers(
            read_scorers("scorers: [{name: theirs, kind: installed, scorer: their_scorer}]"), ["their_scorer"]
        )

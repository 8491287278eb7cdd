"""The report: a page that holds whatever models answered, and runs and loads nothing; tables that compute nothing."""

import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scored import sample_ids

from tunesmith.evaluation import report, sentences
from tunesmith.evaluation.recomputing import recompute
from tunesmith.evaluation.report import plots, words
from tunesmith.evaluation.report.tables import cell
from tunesmith.evaluation.results import (
    Answer,
    Candidate,
    CandidateResult,
    EvaluationResult,
    Sample,
    Text,
    Turn,
)

HOSTILE = (
    "\"'><script>alert(1)</script></title></style></textarea><img src=x onerror=alert(1)>"
    "<a href=javascript:alert(1)>&amp;<!--<![CDATA[ \u202etxt.exe\x00\x1b[31m {p} %s </html>"
)
TAGS = set(
    """html head meta title style body header main section div h1 h2 h3 p strong b bdi span ul li table thead tbody tr
    th td details summary svg g line rect circle polyline text""".split()  # noqa: SIM905
)
ATTRIBUTES = set(
    """lang charset http-equiv content name class scope dir role viewbox xmlns x y x1 x2 y1 y2 cx cy r width height
    points text-anchor stroke-width""".split()  # noqa: SIM905
)


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def evaluation(word: str = "plain", count: int = 40, checkpoints: int = 3) -> EvaluationResult:
    """A base and its checkpoints; `word` stands in every text that is not ours."""
    generator = np.random.default_rng(1)
    hard = generator.normal(0.4, 0.15, count)
    candidates = []
    for place in range(checkpoints + 1):
        answers = []
        for number, value in enumerate(np.clip(hard + 0.1 * place + generator.normal(0, 0.1, count), 0, 1)):
            scores = {"similarity": float(value), "perplexity": 9.0 - 5 * float(value), "format": 0.5}
            answers.append(
                Answer(
                    sample_id=sample_ids(count)[number],
                    text=f"{word} of {place}",
                    tokens=5,
                    finish_reason="length" if number % 4 == 0 else "stop",
                    scores={**scores, f"custom {word}": 0.25},
                    skipped={word: word},
                )
            )
        candidate = Candidate(
            key=f"t/checkpoint-{place} {word}" if place else f"base {word}",
            label=f"{place} {word}",
            task_id=f"t {word}" if place else None,
            step=10 * place,
            is_base=not place,
        )
        candidates.append(CandidateResult(candidate=candidate, answers=tuple(answers), seen=sample_ids(2)))
    samples = [
        Sample(
            id=name,
            row=row + 1,
            turns=(Turn(role="system", content=word), Turn(role="user", content=f"question {row} {word}")),
            reference=word,
            keywords=(word,),
            name=word,
        )
        for row, name in enumerate(sample_ids(count))
    ]
    found = EvaluationResult(
        task_id=word,
        name=word,
        samples=tuple(samples),
        settings={"temperature": 0.0, "template": word, word: word},
        weights={"similarity": 3.0, "format": 1.0},
        scorers=word,
        comparable_by=word,
        candidates=tuple(candidates),
        warnings=(Text(en=word, zh=word),),
    )
    return recompute(found)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_holds_hostile_answers_as_text(language: words.Language) -> None:
    page = report.html(evaluation(HOSTILE), language)
    seen = Page(page)
    assert seen.tags - TAGS == set()
    assert set(seen.attributes) - ATTRIBUTES == set()
    assert seen.attributes["xmlns"] == {"http://www.w3.org/2000/svg"}
    assert page.count("<script") == 0
    assert seen.text.count("<script>alert(1)</script>") > 50
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", page)
    assert "⟨U+202E⟩txt.exe⟨U+0000⟩⟨U+001B⟩[31m" in seen.text


def test_a_page_loads_and_runs_nothing() -> None:
    page = report.html(evaluation())
    style = re.search("<style>(.*)</style>", page, re.DOTALL)
    policy = re.search('<meta http-equiv="Content-Security-Policy" content="([^"]*)"/>', page)
    assert style is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert (
        policy[1] == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert page.index(policy[0]) < page.index("<style>")
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_says_what_was_found_and_how(language: words.Language) -> None:
    result = evaluation("Rome")
    text = Page(report.html(result, language)).text
    comparison = result.comparison
    assert comparison is not None
    assert comparison.sentence is not None
    assert comparison.smallest_difference is not None
    say = words.Words(language)
    pair = comparison.pairs[0]
    for expected in (
        say.of(comparison.sentence),
        say("means", samples=38, seen=2, lacking=0),
        say("differences_base"),
        say("smallest", value=f"{comparison.smallest_difference:.3f}", samples=38),
        f"{pair.difference:+.3f}  [{pair.low:.3f}, {pair.high:.3f}]",
        f"{pair.p_adjusted:.4f}",
        say("over_steps", score=say.score("composite")),
        say("distribution", score=say.score("composite")),
        say("samples_title", candidate=result.of(comparison.recommended or "").candidate.label),
        say("answers_about", shown=20, samples=40),
        say("was_cut"),
        say("was_seen"),
        say("against_base", value=""),
        say("number_of", train=0, validation=40),
        f"{say.score('perplexity')}\u00a0↓",
        f"{say.score('similarity')}0.75",
        "custom Rome",
    ):
        assert expected.strip() in text, expected
    assert "question 19" in text
    assert "question 39" not in text.partition(say("answers"))[2]


def test_other_results_have_pages_too() -> None:
    whole = evaluation()
    alone = recompute(whole.model_copy(update={"candidates": whole.candidates[1:2]}))
    without_base = recompute(whole.model_copy(update={"candidates": whole.candidates[1:]}))
    uncompared = whole.model_copy(update={"comparison": None})
    unanswered = recompute(
        whole.model_copy(
            update={"candidates": tuple(one.model_copy(update={"answers": ()}) for one in whole.candidates)}
        )
    )
    for result in (
        EvaluationResult(),
        alone,
        without_base,
        uncompared,
        unanswered,
        recompute(whole, score="perplexity"),
    ):
        for language in ("en", "zh"):
            assert Page(report.html(result, language)).tags >= {"h1", "h2"}
        assert "".join(report.candidates_csv(result)).count("\r\n") == len(result.candidates) + 1
    assert "than the others" in report.html(without_base)
    assert "against the base</h2>" not in report.html(without_base)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_classes_are_told_apart(language: words.Language) -> None:
    say = words.Words(language)
    plain = evaluation(count=12, checkpoints=1)
    assert say("macro_f1") not in report.html(plain, language)
    samples = tuple(
        sample.model_copy(update={"label": ("cat", "dog", HOSTILE)[number % 3]})
        for number, sample in enumerate(plain.samples)
    )
    candidates = tuple(
        one.model_copy(
            update={"answers": tuple(answer.model_copy(update={"text": "A cat."}) for answer in one.answers)}
        )
        for one in plain.candidates
    )
    page = report.html(plain.model_copy(update={"samples": samples, "candidates": candidates}), language)
    seen = Page(page)
    assert seen.tags - TAGS == set()
    for expected in (say("classes"), say("macro_f1"), say("expected"), say("no_class"), "30.0 %"):
        assert expected in seen.text
    rows = [re.findall("<td[^>]*>([^<]*)", row) for row in re.findall("<tr><td>.*?</tr>", page)]
    assert [row for row in rows if row[0] == "cat"] == [["cat", "0", "3", "0", "0"]] * 2
    assert [row for row in rows if row[0] == "dog"] == [["dog", "0", "3", "0", "0"]] * 2


def test_no_figure_is_hidden_or_endless() -> None:
    """`better by 0.000`, `p = 0.0000`, and a number of ninety digits say nothing."""
    told = {
        0.0: "0.000",
        -1e-12: "0.000",
        0.0003: "0.0003",
        -2e-5: "-2e-05",
        0.05: "0.050",
        99.9999: "100.000",
    }
    told |= {123.45: "123.5", -7.2e86: "-7.2e+86"}
    assert {value: sentences.number(value) for value in told} == told
    assert [sentences.signed(value) for value in (0.1, -0.1, 0.0)] == ["+0.100", "-0.100", "0.000"]
    assert [sentences.chance(p) for p in (0.5, 0.0001, 5e-6)] == ["0.5000", "0.0001", "< 0.0001"]


def test_a_page_of_one_sample_says_no_1_samples() -> None:
    one = evaluation(count=3, checkpoints=1)
    one = recompute(one.model_copy(update={"samples": one.samples[2:]}))
    assert one.comparison is not None
    assert one.comparison.samples == 1
    answers = tuple(
        each.model_copy(update={"answers": tuple(a.model_copy(update={"tokens": 1}) for a in each.answers)})
        for each in one.candidates
    )
    text = Page(report.html(one.model_copy(update={"candidates": answers}))).text
    assert "tokens: 1" in text
    assert not re.search(r"\b1 (samples|candidates|tokens|characters)\b", text)


def test_a_page_stays_small_however_long_answers_are() -> None:
    short = evaluation()
    long = short.model_copy(
        update={
            "candidates": tuple(
                one.model_copy(
                    update={
                        "answers": tuple(a.model_copy(update={"text": "x" * 100_000}) for a in one.answers)
                    }
                )
                for one in short.candidates
            )
        }
    )
    assert len(report.html(long)) < 1_500_000
    assert "… characters that are not shown: 96000" in report.html(long)


def test_every_word_is_in_both_languages() -> None:
    same = {"settings.top_k", "settings.top_p", "settings.min_p"}
    settings = {f"settings.{name}": pair for name, pair in words.SETTINGS.items()}
    for name, (en, zh) in (words.WORDS | settings).items():
        assert set(re.findall(r"\{\w+\}", en)) == set(re.findall(r"\{\w+\}", zh)), name
        assert re.search("[\u4e00-\u9fff]", zh) or name in same | {"against"} or en == zh, name
        assert not re.search("[\u4e00-\u9fff]", en), name


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "＠x",
        "  =1",
        "\u3000=1",
        '=WEBSERVICE("x")',
    ],
)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1.5, -3, None, "plain", "a=b", "", "1 - 2"])
def test_other_cells_stay(value: str | float | None) -> None:
    assert cell(value) == value


def test_tables_hold_everything_and_compute_nothing() -> None:
    result = evaluation("=cmd|' /C calc'!A0")
    text = "".join(report.answers_csv(result))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 160
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not [one for one in row if one.startswith(("=", "+", "@")) or re.match(r"-\D", one)]
    first, answer = rows[0], result.candidates[0].answers[0]
    assert first["reference"] == "'=cmd|' /C calc'!A0"
    assert float(first["composite"]) == answer.scores["composite"]
    assert (first["is_seen"], first["finish_reason"], first["step"]) == ("1", "length", "0")

    assert result.comparison is not None
    rows = list(csv.DictReader(io.StringIO("".join(report.candidates_csv(result)), newline="")))
    assert [float(row["composite"]) for row in rows] == pytest.approx(
        [one.mean for one in result.comparison.estimates.values()]
    )
    assert rows[0]["against_base_p_holm"] == ""
    assert float(rows[1]["against_base_difference"]) == result.comparison.pairs[0].difference
    assert [row["is_recommended"] for row in rows].count("1") == 1


def test_the_whole_reads_back_from_json() -> None:
    result = evaluation(HOSTILE.replace("\x00", ""))
    assert EvaluationResult.model_validate_json(result.model_dump_json(indent=1)) == result


def test_ticks_are_round_and_inside() -> None:
    assert plots.ticks(-0.02, 0.21) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert plots.ticks(3, 3) == [3]
    for low, high in ((0, 1), (-1e-6, 1e-6), (5, 1e9), (-130.5, -2)):
        found = plots.ticks(low, high)
        assert 3 <= len(found) <= 11
        assert all(low - 1e-9 * (high - low) <= tick <= high + 1e-9 * (high - low) for tick in found)


def test_labels_are_cut_at_their_beginning() -> None:
    assert plots.fitted("checkpoint-40") == "checkpoint-40"
    assert plots.fitted("a" * 40 + "/checkpoint-40", 16) == "…a/checkpoint-40"
    assert plots.fitted("检查点" * 10 + "四十", 10) == "…查点四十"

"""What a report says of a file, and what the microscope shows of a row."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tokenizer_folder

from tunesmith.dataset_views import DataReport, TokenKind, Verdict
from tunesmith.errors import NotFound
from tunesmith.rows.choosing import encoder_of
from tunesmith.rows.files.detect_format import recognise
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.report.preview import preview, row_sha256
from tunesmith.rows.report.validation import validate
from tunesmith.rows.shapes import shape_of
from tunesmith.rows.tokens.encode_rows import encode_file
from tunesmith.spec.training import TrainSpec


def spec(**given: Any) -> TrainSpec:
    return TrainSpec.read({"model_name_or_path": "-", "train_file": "-"} | given)


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns} | more


def write(folder: Path, *rows: Any, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer_folder(tmp_path_factory.mktemp("model") / "m")


def counts(report: DataReport, field: str) -> dict[str, int]:
    return {count.name: count.count for count in getattr(report, field)}


def test_every_bad_row_has_place_reason_and_beginning(tmp_path: Path) -> None:
    rows = [chat("q", "a"), "broken {", chat("q", ""), {"messages": [{"role": "nobody", "content": "x"}]}]
    path = write(tmp_path, *rows, *[chat(f"q{i}", " ") for i in range(100)])
    report = validate(path, spec())
    assert (report.rows, report.bad_rows, report.empty_texts) == (104, 103, 101)
    assert report.verdict is Verdict.REFUSED
    assert [bad.place for bad in report.bad[:3]] == ["train.jsonl:2", "train.jsonl:3", "train.jsonl:4"]
    assert report.bad[0].excerpt == "broken {"
    assert "content: q" in report.bad[1].excerpt
    assert all(bad.hint for bad in report.bad)
    assert len(report.bad) == 50, "the list is bounded, the counts are not"
    assert counts(report, "reasons")["`messages[N].content` is empty: an answer needs text."] == 101


@pytest.mark.parametrize(
    ("allowed", "verdict"), [(0, "refused"), (24, "refused"), (25, "skips"), (100, "skips")]
)
def test_the_policy_skips_up_to_a_share(tmp_path: Path, allowed: float, verdict: str) -> None:
    path = write(tmp_path, chat("a", "b"), "x", chat("c", "d"), chat("e", "f"))
    assert validate(path, spec(), allowed_bad_percent=allowed).verdict == verdict
    assert validate(write(tmp_path, "x"), spec(), allowed_bad_percent=100).verdict is Verdict.REFUSED


def test_roles_turns_scripts_duplicates_placeholders(tmp_path: Path) -> None:
    long = chat("hello", "hi")
    long["messages"] = [{"role": "system", "content": "s"}, *long["messages"], *long["messages"]]
    path = write(
        tmp_path, chat("hello", "hi"), long, chat("hello", "hi", id=7), chat("你好", "世界 {{name}}")
    )
    report = validate(path, spec())
    assert counts(report, "roles") == {"user": 5, "assistant": 5, "system": 1}
    assert counts(report, "turns") == {"2": 3, "5": 1}
    assert (report.duplicates, report.duplicate_places) == (1, ["train.jsonl:3"])
    assert counts(report, "scripts")["Han"] == 4
    assert "{{name}}" in report.notes[0]


def test_what_is_trained_and_evaluated_on_alike_is_counted(tmp_path: Path) -> None:
    train = write(tmp_path, chat("same", "same"), chat("asked", "one"), chat("own", "x"))
    held_out = write(
        tmp_path, chat("same", "same"), chat("asked", "two"), chat("other", "x"), name="eval.jsonl"
    )
    report = validate(train, spec(), evaluation=held_out)
    assert report.overlap is not None
    assert (report.overlap.rows, report.overlap.questions) == (1, 1)
    assert report.overlap.places == ["train.jsonl:1", "train.jsonl:2"]
    assert report.evaluation is not None
    assert report.evaluation.rows == 3
    assert any("too good" in note for note in report.notes)


def test_tokens_are_counted_as_the_model_reads_them(tmp_path: Path, model: Path) -> None:
    rows = [chat("q" * 10, "answer"), chat("q" * 400, "never seen"), chat("q" * 30, "a" * 300)]
    path = write(tmp_path, *rows)
    tokens = validate(path, spec(max_length=64), model=model).tokens
    assert tokens is not None
    encoded = [
        one
        for _, one in encode_file(
            path, encoder_of(spec(max_length=9999), shape_of(RowFile(path), spec()), model)
        )
    ]
    assert tokens.longest == max(len(one.input_ids) for one in encoded)
    assert (tokens.cut_rows, tokens.unsupervised_rows) == (2, 1)
    assert tokens.unsupervised_places == ["train.jsonl:2"]
    assert sum(bin_.rows for bin_ in tokens.histogram) == 3
    assert {cut.max_length: round(cut.share, 2) for cut in tokens.cut_at}[64] == 0.67
    lost = validate(write(tmp_path, rows[1]), spec(max_length=64), model=model)
    assert lost.verdict is Verdict.REFUSED


def test_what_the_template_refuses_is_a_bad_row(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, chat("a", "b"), chat("<|im_end|>", "c"))
    assert validate(path, spec(), model=model).bad_rows in (0, 1)
    strict = "{{ raise_exception('no') }}"
    (tmp_path / "strict.jinja").write_text(strict)
    refused = validate(path, spec(chat_template=str(tmp_path / "strict.jinja")), model=model)
    assert refused.bad_rows == 2
    assert refused.bad[0].place == "train.jsonl:1"


def test_time_that_runs_out_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, *[chat(str(i), "a") for i in range(2000)])
    report = validate(path, spec(), max_seconds=0)
    assert not report.is_complete
    assert report.rows < 2000
    assert report.notes


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (chat("q", "a"), "conversation"),
        ({"instruction": "q", "output": "a"}, "conversation"),
        ({"question": "q", "answer": "a"}, "pair"),
        ({"text": "t"}, "text"),
        ({"text": "t", "label": 1}, "labelled"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference"),
        ({"x": 1}, "unknown"),
    ],
)
def test_what_a_file_is(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    found = recognise(write(tmp_path, "{}", row, row))
    assert found.kind == kind
    assert set(found.columns) == set(row)


def test_the_microscope_shows_what_the_encoder_makes(tmp_path: Path, model: Path) -> None:
    path = write(
        tmp_path, chat("x", "y"), "broken", chat("Frage? 世界🎉", "Die Antwort ist <|im_end|> 微调." * 8)
    )
    whole = preview(path, spec(), model, rows=[3]).rows[0]
    cut = preview(path, spec(max_length=40), model, rows=[3, 2])
    row, broken = cut.rows[1], cut.rows[0]
    assert broken.problem is not None
    assert broken.problem.field == "train.jsonl:2"
    assert (row.place, row.trained + row.context) == ("train.jsonl:3", 40)
    assert row.cut == len(whole.tokens) - 40
    assert [token.id for token in row.tokens] == [token.id for token in whole.tokens]
    assert {token.kind for token in row.tokens[40:]} == {TokenKind.CUT}
    encoder = encoder_of(spec(max_length=40), shape_of(RowFile(path), spec()), model)
    encoded = dict(
        encode_file(write(tmp_path, chat("x", "y"), json.loads(path.read_text().splitlines()[2])), encoder)
    )[2]
    assert row.sha256 == row_sha256(encoded.input_ids, encoded.labels)
    assert "".join(token.text for token in whole.tokens) == whole.text
    special = [token.text for token in whole.tokens if token.special]
    assert special == ["<|im_start|>", "<|im_end|>"] * 2, "lookalikes in people's text are no control tokens"
    trained = "".join(token.text for token in whole.tokens if token.kind is TokenKind.TRAINED)
    assert trained == "Die Antwort ist <|im_end|> 微调." * 8 + "<|im_end|>"


def test_the_microscope_on_texts_and_classes(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, {"text": "one", "label": "b"}, {"text": "two", "label": "a"})
    found = preview(path, spec(training_type="classification"), model, first=2)
    assert [row.label for row in found.rows] == ["b", "a"]
    assert found.rows[0].sha256 == row_sha256([token.id for token in found.rows[0].tokens], [1])
    document = preview(path, spec(training_type="pretrain"), model).rows[0]
    assert document.context == 1, "the first token is never predicted"
    assert document.tokens[-1].text == "<|im_end|>"
    with pytest.raises(NotFound, match="no row 9"):
        preview(path, spec(), model, rows=[9])

"""What a report says of parts that train nobody: unread columns, reasoning apart, scores, what a template drops."""

import json
from pathlib import Path
from typing import Any

import chat_templates as zoo
import pytest
from meant_rows import ANSWER, PAIR, ROWS, USER, found, shape, spec, write
from tiny_model import make_tokenizer_folder

from tunesmith.row_problem import RowProblem
from tunesmith.rows.files.reading import RowFile
from tunesmith.rows.findings import Census
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer_folder(tmp_path_factory.mktemp("model") / "m")


def test_columns_that_nobody_reads_are_said_with_their_share(tmp_path: Path, model: Path) -> None:
    rows = [ROWS["pair"] | {"id": i, "note": "x" if i % 4 == 0 else None, "tags": []} for i in range(8)]
    report = validate(write(tmp_path, *rows), spec(), model=model)
    said = found(report)["columns_not_read"]
    assert "`id` (100 %)" in said.message
    assert "`note` (25 %)" in said.message
    assert "tags" not in said.message, "what says nothing is not missed"
    assert report.meaning == {"prompt": "user", "completion": "assistant"}
    assert preview(write(tmp_path, *rows), spec(), model).findings == report.findings
    turns = {"messages": [USER | {"id": 1}, ANSWER | {"name": "bot", "mood": "good"}]}
    assert "`messages[].mood` (100 %)" in validate(write(tmp_path, turns), spec()).findings[0].message


@pytest.mark.parametrize(
    "column",
    [
        "reasoning",
        "Complex_CoT",
        "thinking",
        "chain of thought",
        "思考过程",
        "rationale",
        "reasoning_process",
        "model_thinking",
        "推理步骤",
    ],
)
def test_reasoning_in_a_column_of_its_own_is_said(tmp_path: Path, column: str) -> None:
    row = {"Question": "q", column: "because", "Response": "a"}
    path = write(tmp_path, row, row)
    assert shape(path).read(row) == PAIR
    said = found(validate(path, spec()))["reasoning_not_read"]
    assert column in said.message
    assert f"{{{column}}}" in (said.hint or "")
    assert "{Response}" in (said.hint or "")
    turns = found(validate(write(tmp_path, {"messages": [USER, ANSWER], column: "because"}), spec()))
    assert "reasoning_not_read" in turns


def test_scores_are_said_with_their_range(tmp_path: Path) -> None:
    rows = [ROWS["pair"] | {"score": score} for score in (1, 7.5, 3)]
    said = found(validate(write(tmp_path, *rows), spec()))["scores_not_read"]
    assert "`score` [1, 7.5]" in said.message


THOUGHT = "<think>\nI add two.\n</think>\n\nIt is 4."
# As the R1 distillations ship it: what stands before </think> is dropped of every answer.
DROPPED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] if m.role == 'assistant' else "
    "m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def thinking(*thoughts: str) -> dict[str, Any]:
    return {"messages": [turn for one in thoughts for turn in (USER, {**ANSWER, "content": one})]}


@pytest.mark.parametrize(
    ("source", "rows", "answers"),
    [
        (DROPPED, [thinking(THOUGHT), thinking(THOUGHT, THOUGHT), thinking("It is 4.")], 3),
        (zoo.THINKING, [thinking(THOUGHT), thinking(THOUGHT, THOUGHT), thinking("It is 4.")], 1),
        (zoo.CHATML_GENERATION, [thinking(THOUGHT), thinking(THOUGHT, THOUGHT)], 0),
        (DROPPED, [thinking("<think>\n\n</think>\n\nNo thought, nothing is lost.")], 0),
    ],
)
def test_reasoning_that_the_template_drops_is_said(
    tmp_path: Path, model: Path, source: str, rows: list[dict[str, Any]], answers: int
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(source)
    asked = spec(chat_template=str(template))
    path = write(tmp_path, *rows)
    said = found(validate(path, asked, model=model))
    assert ("reasoning_dropped" in said) == bool(answers)
    if answers:
        assert f"reasoning of {answers} answer" in said["reasoning_dropped"].message
        assert said["reasoning_dropped"].examples[0].excerpt
        assert preview(path, asked, model).findings == validate(path, asked, model=model).findings
    whole = found(validate(path, spec(chat_template=str(template), assistant_only_loss=False), model=model))
    assert ("reasoning_dropped" in whole) == bool(answers)


def test_answers_that_the_template_rewrites_are_said(tmp_path: Path, model: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if loop.last or m.role == 'user' %}{{ m.content }}"
        "{% else %}{{ m.content[:3] }}{% endif %}<|im_end|>\n{% endfor %}"
    )
    path = write(tmp_path, thinking("a long answer", "another"), thinking("one answer alone"))
    said = found(validate(path, spec(chat_template=str(template)), model=model))["answers_rewritten"]
    assert "1 answer, in 1 of 2 rows" in said.message


def test_what_is_cut_is_said_as_a_share(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, *({"text": "word " * 500} for _ in range(3)))
    said = found(validate(path, spec(max_length=64), model=model))["rows_cut"]
    assert "3 of 3 rows" in said.message
    assert "97 % of all tokens are never seen" in said.message
    assert "training_type=pretrain" in (said.hint or "")
    assert "rows_cut" not in found(validate(path, spec(max_length=64, training_type="pretrain"), model=model))


def test_a_census_of_parts_says_the_same(tmp_path: Path) -> None:
    rows = [ROWS["pair"] | {"score": i, "x": "y" if i % 3 else ""} for i in range(30)]
    file = RowFile(write(tmp_path, *rows))
    whole, parts = Census(), [Census() for _ in range(3)]
    for number, row in file.scan():
        assert isinstance(row, dict)
        whole.take(number, row)
        parts[(number - 1) // 10].take(number, row)
    together = Census()
    for part in parts:
        together.add(json.loads(json.dumps(part.as_json())))
    said = [census.findings(shape(file.path), file.place, 64) for census in (whole, together)]
    assert said[0] == said[1]
    assert said[0]


def test_rows_of_several_tables_put_together_are_each_read(tmp_path: Path) -> None:
    empty = dict.fromkeys(("instruction", "input", "output", "messages", "conversations"))
    rows = [empty | ROWS[name] for name in ("instruction", "messages", "sharegpt")]
    path = write(tmp_path, *rows)
    assert [shape(path).read(row) for row in rows] == [PAIR] * 3
    with pytest.raises(RowProblem, match=r"`messages` is missing or `null`"):
        shape(path).read(empty)


def test_an_empty_answer_in_the_history_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"instruction": "i", "output": "o", "history": [["a", " "]]})
    assert "empty answer" in validate(path, spec()).reasons[0].message


def test_marks_that_another_rendering_left_in_answers_are_said(tmp_path: Path, model: Path) -> None:
    asked = {"role": "user", "content": "what is <|im_end|>?"}
    rows = [{"messages": [asked, ANSWER]}, {"messages": [USER, ANSWER | {"content": "a<|im_end|>"}]}]
    report = validate(write(tmp_path, *rows), spec(), model=model)
    assert found(report)["marks_in_answers"].count == 1

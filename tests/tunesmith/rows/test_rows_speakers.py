"""Who speaks is read by any name that people give it; rows without one question and its answer are refused as such."""

from pathlib import Path
from typing import Any

import pytest
from meant_rows import ANSWER, PAIR, USER, shape, spec, write

from tunesmith.errors import InvalidData
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.roles import CALL, ROLES, role_of
from tunesmith.rows.report.validation import validate

SPEAKERS = [
    ("human", "gpt"), ("Human", "AI"), ("user", "bot"), ("user", "model"), ("prompter", "assistant"),
    ("question", "answer"), ("USER", "CHATBOT"), ("human", "chatgpt"), ("human", "bing"), ("human", "bard"),
    ("human", "claude"), ("customer", "agent"), ("用户", "助手"), ("用戶", "助理"),
]  # fmt: skip


@pytest.mark.parametrize("key", ["role", "from", "speaker", "author"])
@pytest.mark.parametrize("names", SPEAKERS, ids="/".join)
def test_a_speaker_is_taken_as_it_is_meant_under_every_key(
    names: tuple[str, str], key: str, tmp_path: Path
) -> None:
    text = "value" if key == "from" else "content"
    turns = [{key: name, text: said} for name, said in zip(names, "qa", strict=True)]
    for column in ("messages", "conversations", "dialogue"):
        if column == "messages" and key == "from":
            continue  # refused with the name that such a list has
        path = write(tmp_path, {column: turns})
        assert shape(path).read({column: turns}) == PAIR, column


def test_names_of_people_are_no_roles() -> None:
    assert {role_of(name) for name in (*ROLES, CALL)} == {*ROLES, CALL}
    assert {role_of(name) for name in ("Bob", "", "narrator", "U0123", 1, None)} == {None}


def test_a_list_of_posts_is_no_conversation(tmp_path: Path) -> None:
    path = write(tmp_path, {"posts": [{"author": "Bob", "text": "a"}, {"author": "Eve", "text": "b"}]})
    assert validate(path, spec()).verdict == "refused"


@pytest.mark.parametrize(
    "row",
    [
        {"role": "prompter", "text": "q", "message_id": "1", "parent_id": None},
        {"role": "user", "content": "q", "conversation_id": 7},
        {"from": "human", "value": "q"},
        {"speaker": "customer", "text": "q"},
    ],
)
def test_a_file_of_single_turns_is_refused_as_no_answer_would_have_its_question(
    row: dict[str, Any], tmp_path: Path
) -> None:
    speaker = next(key for key in ("role", "from", "speaker") if key in row)
    path = write(tmp_path, row, row | {speaker: "assistant"})
    with pytest.raises(InvalidData, match="one turn of a conversation in each row") as refused:
        shape(path)
    assert "messages" in (refused.value.hint or "")
    text = next(name for name in ("content", "value", "text") if name in row)
    assert f"`text_column={text}`" in (refused.value.hint or "")
    # Whoever says so trains the texts, each alone; and other columns of that name are none of a speaker.
    assert shape(path, text_column=text).kind == "text"
    assert (
        shape(write(tmp_path, {"text": "t", "role": "nurse"}, {"text": "t", "role": "user"})).kind == "text"
    )


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0},
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "a"},
        {"history": "q", "human_ref_A": "a", "human_ref_B": "b"},
        {"conversation_a": [USER, ANSWER], "conversation_b": [USER, ANSWER], "winner": "model_a"},
        {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]},
        {"instruction": "q", "completions": [{"response": "a", "overall_score": 4}]},
        {"question": "q", "human_answers": ["a"], "chatgpt_answers": ["b"]},
    ],
)
def test_several_answers_to_one_question_are_refused_for_what_they_are(
    row: dict[str, Any], tmp_path: Path
) -> None:
    path = write(tmp_path, row)
    with pytest.raises(RowProblem, match="several answers to one question") as refused:
        shape(path).read(row)
    assert "`response`" in (refused.value.hint or "")

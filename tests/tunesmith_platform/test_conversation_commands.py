"""`tunesmith chat` with its conversation kept, `tunesmith chats ...`, and ratings that become rows to train on."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from chat_bench import ChatBench, checkpoint, typed
from conftest_platform import LOCAL
from stand_in_replica import end, piece

from tunesmith.chat.wire import Ask, Refused
from tunesmith.cli.main import run
from tunesmith.client import Client
from tunesmith.errors import InvalidInput


@pytest.fixture(scope="module")
def served_bench(served_bench: ChatBench) -> ChatBench:
    checkpoint(served_bench.plane, served_bench.plane.running(name="sft"), 5)
    return served_bench


@pytest.fixture
def bench(bench: ChatBench) -> ChatBench:
    with Client() as client:
        for one in list(client.conversations.list()):
            client.conversations.delete(one.id)
    return bench


def told(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run([*args])
    found = capsys.readouterr()
    return code, found.out, found.err


def contents(ask: Ask) -> list[str]:
    return [one.content for one in ask.messages or ()]


def kept() -> list[Any]:
    with Client() as client:
        return [client.conversations.show(one.id, every=True) for one in client.conversations.list()]


def test_a_talk_is_kept_and_goes_on_later(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "/set seed 7", "One", "/title Numbers", "/quit")
    code, out, err = told(capsys, "chat", "smol")
    (found,) = kept()
    assert (code, out.count("Hello world")) == (0, 1)
    assert f"tunesmith chat --continue {found.id}" in err
    assert (found.title, found.said[0].content, found.settings["seed"]) == ("Numbers", "One", 7)
    typed(monkeypatch, "Two")
    code, _, err = told(capsys, "chat", "--continue", "last")
    assert code == 0
    assert err.startswith("Going on with `Numbers`. Turns: 1. Talking to `smol`.")
    assert contents(bench.replica.asked[-1]) == ["One", "Hello world", "Two"]
    assert bench.replica.asked[-1].sampling.seed == 7
    reply = json.loads(told(capsys, "chat", "-c", found.id, "-p", "Three", "--json")[1])
    assert (reply["text"], reply["conversation"], reply["turn"]) == ("Hello world", found.id, 3)
    assert contents(bench.replica.asked[-1])[-3:] == ["Two", "Hello world", "Three"]


@pytest.mark.parametrize("args", [("--no-keep",), ("-p", "One"), ("--no-keep", "-p", "One")])
def test_nothing_is_kept_where_nobody_wants_it(
    bench: ChatBench,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
) -> None:
    typed(monkeypatch, "One", "/rate better", "/title x")
    code, _, err = told(capsys, "chat", "smol", *args)
    assert (code, kept()) == (0, [])
    assert ("This conversation is not kept." in err) == ("-p" not in args)
    assert told(capsys, "chat", "--no-keep", "--continue", "last", "-p", "x")[0] == 1


def test_leaving_without_a_question_keeps_nothing(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(_ask: Ask) -> AsyncIterator[Any]:
        yield Refused(code="no_memory", message="2 GB are free.")

    bench.replica.script = refuses
    typed(monkeypatch, "/rate better", "/again", "/save", "One", "/quit")
    code, _, err = told(capsys, "chat", "smol")
    assert (code, kept()) == (0, [])
    assert err.count("Nothing was asked yet.") == 3
    assert "2 GB are free." in err
    assert told(capsys, "chat", "--continue", "last", "-p", "x")[0] == 1


def test_what_was_not_kept_is_saved(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "said.jsonl"
    typed(monkeypatch, "One", "/save", "Two", "/again", f"/save {file}", f"/save {file}")
    code, _, err = told(capsys, "chat", "smol", "--no-keep", "--system", "Be kind.")
    (found,) = kept()
    assert (code, [turn.content for turn in found.said]) == (0, ["One", "Two", "Two"])
    row = json.loads(file.read_text())
    assert [one["content"] for one in row["messages"]] == [
        "Be kind.",
        "One",
        "Hello world",
        "Two",
        "Hello world",
    ]
    assert "is there already" in err


async def named(ask: Ask) -> AsyncIterator[Any]:
    yield piece(f"I am {ask.model.name}.")
    yield end()


def test_models_are_compared_rated_and_gone_on_with(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.replica.script = named
    typed(
        monkeypatch, "Who?", "/compare smol sft:5", "/rate better 2", "/rate worse 3", "/rate good", "/compare smol",
        "/compare sft:5 sft", "Sure?", "/correct I am Anna.",
    )  # fmt: skip
    code, out, err = told(capsys, "chat", "smol")
    assert code == 0
    assert "--- 1: smol\nI am smol.\n--- 2: sft:5\nI am sft:5.\n" in out
    assert contents(bench.replica.asked[-1]) == ["Who?", "I am sft:5.", "Sure?"]
    for words in ("has no answer 3", "`better` or `worse`", "2 to 4 models", "are the same weights"):
        assert words in err
    (found,) = kept()
    assert [(turn.number, turn.parent, len(turn.answers)) for turn in found.said] == [
        (1, None, 1), (2, None, 2), (3, 2, 1),
    ]  # fmt: skip
    assert [one.rating for one in found.said[1].answers] == [None, "better"]
    assert found.said[2].answers[0].corrected == "I am Anna."
    listed = json.loads(told(capsys, "chats", "ratings", "--json")[1])
    assert [(one["turn"], one["rating"], one["corrected"]) for one in listed] == [
        (3, None, "I am Anna."), (2, "better", None),
    ]  # fmt: skip
    assert "I am Anna." in told(capsys, "chats", "ratings")[1]


async def full(ask: Ask) -> AsyncIterator[Any]:
    if ask.drop_oldest:
        yield piece("short")
        yield end(dropped_turns=2)
    elif len(ask.messages or ()) > 1:
        words = (
            "900 tokens of the conversation and 256 of an answer are more than the 512 that the model reads."
        )
        yield Refused(code="context_length_exceeded", message=words, prompt_tokens=900, context_tokens=512)
    else:
        yield piece("Hi")
        yield end()


@pytest.mark.parametrize("keeps", ["--keep", "--no-keep"])
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_full_context_is_said_and_leaving_turns_out_is_offered_once(
    bench: ChatBench,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    keeps: str,
    answer: str,
) -> None:
    bench.replica.script = full
    typed(monkeypatch, "One", "Two", answer, "Three", "/set drop_oldest on", "Four")
    code, out, err = told(capsys, "chat", "smol", keeps)
    assert code == 0
    assert "900 tokens of the conversation and 256 of an answer are more than the 512" in err
    assert err.count("Leave the oldest turns out") == 1
    assert out.count("short") == (3 if answer == "y" else 1)
    assert err.count("Oldest turns that were left out to fit: 2.") == out.count("short")
    typed(monkeypatch)
    if keeps == "--keep":
        code, _, err = told(
            capsys, "chat", "smol", "--continue", "last", "-s", "drop_oldest=false", "-p", "Five"
        )
        assert (code, "`drop_oldest`" in err or "512" in err) == (1, True)


@pytest.mark.slow
def test_conversations_are_listed_shown_exported_renamed_and_deleted(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for question in ("First things", "Second things"):
        assert told(capsys, "chat", "smol", "--keep", "-p", question)[0] == 0
    listed = json.loads(told(capsys, "chats", "conversations", "--json")[1])
    assert [one["title"] for one in listed] == ["Second things", "First things"]
    _, out, _ = told(capsys, "chats", "conversations", "--search", "first")
    assert ("First things" in out, "Second" in out) == (True, False)
    assert told(capsys, "chats", "conversations", "--expiring", "30")[2] == "There are none.\n"
    assert json.loads(told(capsys, "chats", "conversations", "--expiring", "91", "--json")[1]) == listed
    _, out, err = told(capsys, "chats", "show", "last")
    assert "1> Second things\n  [smol] Hello world\n" in out
    assert "Second things" in err
    assert (
        json.loads(told(capsys, "chats", "show", "last", "--json")[1])["said"][0]["content"]
        == "Second things"
    )
    row = json.loads(told(capsys, "chats", "export", "last")[1])
    assert [one["role"] for one in row["messages"]] == ["user", "assistant"]
    assert json.loads(told(capsys, "chats", "export", "last", "--json")[1])["id"] == listed[0]["id"]
    file = tmp_path / "all.jsonl"
    assert told(capsys, "chats", "export", "--all", "--save", str(file))[0] == 0
    assert len(file.read_text().splitlines()) == 2
    assert told(capsys, "chats", "export", "--all", "--save", str(file))[0] == 1
    assert told(capsys, "chats", "export", "--all", "--save", str(file), "--force")[0] == 0
    assert told(capsys, "chats", "export")[0] == 1
    assert json.loads(told(capsys, "chats", "rename", "last", "Lakes", "--json")[1])["title"] == "Lakes"
    assert told(capsys, "chats", "delete", "last", "--yes")[2] == f"Deleted `{listed[0]['id']}`.\n"
    assert [one.title for one in kept()] == ["First things"]
    assert told(capsys, "chats", "show", "conversation-0")[0] == 1


def test_chinese(bench: ChatBench, capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.language import choose

    try:
        _, _, err = told(capsys, "chats", "conversations", "--lang", "zh")
        assert err == "尚未保存任何对话。\n"
        assert (
            "没有对话 `conversation-0`" in told(capsys, "chats", "show", "conversation-0", "--lang", "zh")[2]
        )
    finally:
        choose(None)


# --- ratings become rows


def rated(client: Client, *answers: tuple[str, str | None, str | None], system: str = "") -> str:
    """A conversation of these answers, each with its rating and its correction."""
    messages = [{"role": "system", "content": system}] if system else []
    for number, (answer, _, _) in enumerate(answers, start=1):
        messages += [{"role": "user", "content": f"Q{number}"}, {"role": "assistant", "content": answer}]
    made = client.conversations.create("smol", messages=messages)
    for number, (_, rating, corrected) in enumerate(answers, start=1):
        if rating or corrected:
            client.conversations.rate(made.id, number, rating=rating, corrected=corrected)  # type: ignore[arg-type]
    return made.id


def test_good_and_corrected_answers_are_rows_of_which_they_alone_are_learned(bench: ChatBench) -> None:
    with Client() as client:
        rated(client, ("A1", "better", None), ("A2", None, None), ("A3", "worse", "B3"), system="Be kind.")
        rows = [json.loads(line) for line in client.conversations.rows().splitlines()]
        assert rows == [
            {"messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Q1"},
                {"role": "assistant", "content": "A1"},
            ]},
            {"messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Q1"},
                {"role": "assistant", "content": "A1", "weight": 0},
                {"role": "user", "content": "Q2"},
                {"role": "assistant", "content": "A2", "weight": 0},
                {"role": "user", "content": "Q3"},
                {"role": "assistant", "content": "B3"},
            ]},
        ]  # fmt: skip
        pairs = [json.loads(line) for line in client.conversations.rows("pairs").splitlines()]
        assert [(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in pairs] == [
            ("B3", "A3")
        ]
        assert [one["content"] for one in pairs[0]["prompt"]] == ["Be kind.", "Q1", "A1", "Q2", "A2", "Q3"]
        assert client.conversations.rows(model="other") == ""


def test_answers_to_the_same_question_are_pairs(bench: ChatBench) -> None:
    """Side by side the better one is so than all others; asked again, than those that were rated worse."""
    bench.replica.script = named
    with Client() as client:
        made = client.conversations.create("smol").id
        client.conversations.ask(made, "Who?", models=["smol", "sft:5"])
        client.conversations.rate(made, 1, 1, rating="better")
        client.conversations.ask(made, instead_of=1, model="smol")
        client.conversations.ask(made, "What else?")
        client.conversations.rate(made, 3, rating="better")

        def pairs() -> list[tuple[str, str]]:
            rows = [json.loads(line) for line in client.conversations.rows("pairs").splitlines()]
            return [(one["chosen"][0]["content"], one["rejected"][0]["content"]) for one in rows]

        assert pairs() == [("I am sft:5.", "I am smol.")]
        client.conversations.rate(made, 1, 1)
        assert pairs() == []
        client.conversations.rate(made, 1, 1, corrected="I am Anna.")
        client.conversations.rate(made, 2, rating="worse")
        assert pairs() == [("I am Anna.", "I am sft:5."), ("I am Anna.", "I am smol.")]


def test_a_good_answer_that_is_not_whole_is_left_out_and_said(bench: ChatBench) -> None:
    async def long(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("This goes on and")
        yield end(finish_reason="length")

    bench.replica.script = long
    with Client() as client:
        made = client.conversations.create("smol").id
        client.conversations.ask(made, "One")
        client.conversations.rate(made, 1, rating="better")
        with pytest.raises(InvalidInput, match="No answer was rated"):
            client.conversations.make_dataset("cut-short")
        rated(client, ("A1", "better", None))
        found = client.conversations.make_dataset("cut-short")
        assert (found.rows, found.left_out) == (1, 1)


def test_ratings_become_a_data_set_that_is_trained_on(
    bench: ChatBench, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client() as client:
        made = [
            rated(client, ("A1", "better", None), ("A2", None, f"B{n}"), system="Be kind.") for n in range(4)
        ]
        found = client.conversations.make_dataset("rated")
        assert (found.version, found.rows) == ("rated@1", 5), "the same row is there once"
        for row in client.datasets.preview("rated", model="smol", first=5).rows:
            learned = "".join(token.text for token in row.tokens if token.kind == "trained")
            assert learned in ("A1<|im_end|>", *(f"B{n}<|im_end|>" for n in range(4))), (
                "the last answer alone"
            )
        (version,) = client.datasets.show("rated").versions
        assert (version.kind, version.source, version.format) == ("conversation", "ratings", "jsonl")
        assert version.lineage is not None
        assert (version.lineage.operation, version.lineage.sources) == ("ratings", sorted(made))
        assert version.lineage.task_id is None
        assert client.conversations.make_dataset("rated").version == "rated@1"
        client.conversations.rate(made[0], 1, rating="worse")
        for one in made[1:]:
            client.conversations.rate(one, 1)
        assert client.conversations.make_dataset("rated").version == "rated@2"
        pairs = client.conversations.make_dataset("pairs", "pairs")
        assert (pairs.dataset.versions[0].kind, pairs.rows) == ("preference", 4)
        client.conversations.delete(made[0])
        path = bench.plane.services.datasets.find(LOCAL, "rated@1").path
    assert [sorted(json.loads(line)) for line in path.read_text().splitlines()] == [["messages"]] * 5
    code, out, _ = told(capsys, "chats", "dataset", "rated", "--json")
    assert (code, json.loads(out)["version"]) == (0, "rated@3")
    assert told(capsys, "chats", "dataset", "rated", "--rows", "nonsense")[0] == 1
    code, out, err = told(capsys, "train", "--model", "smol", "--train-file", "rated", "--dry-run")
    assert (code, "rated" in out) == (0, True), err
    code, out, _ = told(capsys, "data", "show", "rated")
    assert (code, f"ratings: {made[1]}" in out) == (0, True)

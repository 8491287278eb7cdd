"""`tunesmith chat` against the API and a stand-in of a served model; and the same from Python."""

import io
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from chat_bench import ChatBench, checkpoint, typed
from stand_in_replica import end, hello, piece

from tunesmith.chat.wire import Ask, Refused
from tunesmith.cli.main import run
from tunesmith.client import Client
from tunesmith.errors import InvalidInput, NotFound, TooManyRequests, Unavailable
from tunesmith.spec.chat import ChatSettings


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run(["chat", *args])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_one_question_is_answered(bench: ChatBench, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "smol", "-p", "Say hello.", "--system", "Be kind.") == (0, "Hello world\n", "")
    (asked,) = bench.replica.asked
    assert [(one.role, one.content) for one in asked.messages or ()] == [
        ("system", "Be kind."),
        ("user", "Say hello."),
    ]
    assert asked.sampling == ChatSettings().sampling()
    assert asked.template_variables == {"enable_thinking": False}


def test_a_question_comes_through_a_pipe(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("From a pipe\n"))
    code, out, err = said(capsys, "--json", "--set", "temperature=0", "-s", "max_tokens=5")
    assert code == 0
    assert json.loads(out) == {
        "model": "smol",
        "text": "Hello world",
        "thought": "",
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "dropped_turns": 0,
    }
    assert err == "Talking to `smol`.\n"  # nobody said which
    drawn = bench.replica.asked[0].sampling
    assert (drawn.temperature, drawn.max_new_tokens) == (0, 5)


def test_a_conversation_goes_on(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(
        monkeypatch,
        "One",
        "/set temperature 0.2",
        "/set top_k=3",
        "/system Be brief.",
        "Two",
        "/reset",
        "Three",
        "/set",
        "/nonsense",
        "/set temperature 9",
        "/model nothing",
        "/compare smol smol",
        "/help",
        "",
        "/quit",
        "never asked",
    )
    code, out, err = said(capsys, "smol")
    assert (code, out.count("Hello world\n")) == (0, 3)
    contents = [[one.content for one in asked.messages or ()] for asked in bench.replica.asked]
    assert contents == [
        ["One"],
        ["Be brief.", "One", "Hello world", "Two"],
        ["Be brief.", "Three"],
    ]
    drawn = bench.replica.asked[-1].sampling
    assert (drawn.temperature, drawn.top_k, drawn.top_p) == (0.2, 3, 0.9)
    for words in (
        "There is no command `/nonsense`",
        "temperature",
        "There is no model `nothing`",
        "are the same weights",
        "/compare A B",
    ):
        assert words in err


def test_two_models_answer_the_same_question(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = bench.plane.running(name="sft")
    checkpoint(bench.plane, task, 5)
    typed(monkeypatch, "One", "/compare smol sft:5", "Two")
    code, out, err = said(capsys)
    assert (code, err.partition("\n")[0]) == (0, "Talking to `sft:5` (latest).")
    assert "--- 1: smol\nHello world\n--- 2: sft:5\nHello world\n" in out
    asked = [(one.model.name, [turn.content for turn in one.messages or ()]) for one in bench.replica.asked]
    assert (asked[0], sorted(asked[1:3]), asked[3]) == (
        ("sft:5", ["One"]),
        [("sft:5", ["One"]), ("smol", ["One"])],  # side by side
        ("sft:5", ["One", "Hello world", "Two"]),
    )
    assert {one.sampling.seed for one in bench.replica.asked} == {42}


def test_what_goes_wrong_is_said_in_a_line(
    bench: ChatBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = said(capsys, "smoll", "-p", "x")
    assert (code, out) == (1, "")
    assert err.startswith("error: There is no model `smoll` to talk to.")
    assert said(capsys, "smol", "-p", " ")[0] == 1
    assert said(capsys, "smol", "-p", "x", "--set", "temprature=1")[0] == 1

    async def broken(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("Hel")
        yield {"type": "failed", "message": "The engine has ended."}

    bench.replica.script = broken
    code, out, err = said(capsys, "smol", "-p", "x")
    assert (code, out) == (1, "Hel")
    assert "The engine has ended." in err
    for keeps, before in (("--no-keep", []), ("--keep", ["One", "Hel"])):  # what was said until then is kept
        typed(monkeypatch, "One", "Two")
        code, _, err = said(capsys, "smol", keeps)
        assert (code, err.count("The engine has ended.")) == (0, 2)
        assert [one.content for one in bench.replica.asked[-1].messages or ()] == [*before, "Two"]


def test_what_a_model_says_does_not_steer_the_terminal(
    bench: ChatBench, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hostile(_ask: Ask) -> AsyncIterator[Any]:
        yield piece("\x1b[2Jgone\x07")
        yield end()

    bench.replica.script = hostile
    assert said(capsys, "smol", "-p", "x")[1] == "�[2Jgone�\n"


def test_chinese(bench: ChatBench, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code, _, err = said(capsys, "smoll", "-p", "x", "--lang", "zh")
    finally:
        from tunesmith.language import choose

        choose(None)
    assert code == 1
    assert "没有可以对话的模型 `smoll`" in err


# --- from Python


def test_the_client_asks(bench: ChatBench) -> None:
    with Client() as client:
        reply = client.chat("smol", "Say hello.", temperature=0, system_prompt="Be kind.")
        assert (reply.text, reply.model, reply.completion_tokens) == ("Hello world", "smol", 3)
        parts = [part.text for part in client.chats.stream("smol", [{"role": "user", "content": "?"}])]
        assert "".join(parts) == "Hello world"
        assert len(parts) == 3
        assert "smol" in client.chats.names()
        assert [one.name for one in client.chats.served()]
        assert client.chats.load("smol").model == "smol"
        with pytest.raises(NotFound):
            client.chat("nothing", "?")
        with pytest.raises(InvalidInput):
            client.chat("smol", "?", temperature=9)


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (Refused(code="context_length_exceeded", message="It has 900 tokens."), InvalidInput),
        (Refused(code="no_memory", message="2 GB are free."), Unavailable),
    ],
)
def test_the_client_raises_what_the_model_refuses(
    bench: ChatBench, refused: Refused, kind: type[Exception]
) -> None:
    async def no(_ask: Ask) -> AsyncIterator[Any]:
        yield refused

    bench.replica.script = no
    with Client() as client, pytest.raises(kind, match=refused.message):
        client.chat("smol", "?")
    assert bench.replica.asked[-1].drop_oldest is False
    assert TooManyRequests.status == 429


def test_the_client_waits_for_a_model_that_starts(bench: ChatBench) -> None:
    """Longer than a server lets one wait: it asks again."""
    (task,) = bench.chats()
    calls = 0

    async def late(ask: Ask) -> AsyncIterator[Any]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ConnectionResetError
        async for line in hello(ask):
            yield line

    bench.replica.script = late
    bench.plane.settings.chat_start_seconds = 0.01
    try:
        with Client() as client:
            with pytest.raises(Unavailable):
                client.chat("smol", "?", wait_seconds=0)
            calls = 2
            assert client.chat("smol", "?").text == "Hello world"
    finally:
        bench.plane.settings.chat_start_seconds = 60
    assert task.id


def test_what_is_served_is_shown_loaded_and_pinned(
    bench: ChatBench, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed_out(*args: str) -> tuple[int, str, str]:
        code = run(["chats", *args])
        found = capsys.readouterr()
        return code, found.out, found.err

    assert typed_out("names")[1].splitlines()[0] == "smol"
    assert "smol" in json.loads(typed_out("names", "--json")[1])
    code, out, _ = typed_out("list")
    assert (code, "ready" in out, bench.base.rpartition("/")[2] in out) == (0, True, True)
    assert json.loads(typed_out("list", "--json")[1])[0]["status"]["engine"] == "stand-in"
    for verb in ("load", "pin", "unpin", "unload"):
        assert typed_out(verb, "smol") == (0, "", "Done: `smol`.\n")
        assert json.loads(typed_out(verb, "smol", "--json")[1])["model"] == "smol"
    assert typed_out("load", "nothing")[0] == 1
    assert {path for path, _ in bench.replica.verbs} == {"status", "pin", "unload"}

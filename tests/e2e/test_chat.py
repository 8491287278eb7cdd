"""A checkpoint is talked to on the real platform, by OpenAI's own client: from the first question to the stop."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from live_platform import Platform
from short_tasks import completed, submit_short, wait_warm
from waiting import wait_until

from tunesmith.errors import InvalidInput, Unavailable
from tunesmith.home import Home
from tunesmith.job import read_secret
from tunesmith.lifecycle import State
from tunesmith.views import TaskView

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
_SCHEMA = {
    "type": "object",
    "properties": {"sum": {"enum": [7, 8]}},
    "required": ["sum"],
    "additionalProperties": False,
}
_FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "sum", "schema": _SCHEMA, "strict": True}}
ASKED: Any = [{"role": "user", "content": "what is 3 plus 4?"}]


@pytest.fixture(scope="module")
def trained(warm: Platform) -> TaskView:
    """A training with a checkpoint."""
    wait_warm(warm.client)
    return completed(
        warm.client, submit_short(warm.client, warm.model, warm.rows, 5, save_steps=5, max_length=64)
    )


@pytest.fixture
def client(warm: Platform) -> openai.OpenAI:
    key = read_secret(warm.home.api_key_file)
    return openai.OpenAI(base_url=f"{warm.client.url}/openai/v1", api_key=key, max_retries=5, timeout=120)


def replicas(home: Home) -> Iterator[int]:
    """The processes that answer for this platform."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        with contextlib.suppress(psutil.Error):
            environ = process.info["environ"] or {}
            named = " ".join(process.info["cmdline"] or ())
            if environ.get("TUNESMITH_HOME") == str(home.root) and named.startswith("ray::ServeReplica"):
                yield process.pid


def drivers(home: Home, task_id: str) -> list[int]:
    """The processes of this platform that do the work of a task, or look after it."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        with contextlib.suppress(psutil.Error):
            environ, named = process.info["environ"] or {}, " ".join(process.info["cmdline"] or ())
            is_ours = environ.get("TUNESMITH_HOME") == str(home.root) and "tunesmith_jobs.entry" in named
            if is_ours and (task_id in named or any(task_id in value for value in environ.values())):
                found.append(process.pid)
    return found


def test_a_conversation_is_kept_compared_rated_and_trained_on(warm: Platform, trained: TaskView) -> None:
    """With a real replica, its own context, and a training on what was rated."""
    kept, base = warm.client.conversations, warm.client.models.register(str(warm.model))
    made = kept.create(base.name, temperature=0, seed=1, max_new_tokens=12)
    first = kept.ask(made.id, "what is 3 plus 4?")
    checkpoint = f"{trained.id}:5"
    with pytest.raises(InvalidInput, match="the same weights"):
        kept.ask(made.id, models=[checkpoint, trained.id])
    compared = [kept.ask(made.id, "and 2 plus 2?", models=[base.name, checkpoint])]
    compared.append(kept.ask(made.id, models=[base.name, checkpoint]))
    texts = [[answer.text for answer in turn.answers] for turn in compared]
    assert texts[0] == texts[1], "the same seed, conversation and weights"
    assert [answer.model for answer in compared[0].answers] == [base.name, checkpoint]
    assert all(answer.completion_tokens for turn in (first, *compared) for answer in turn.answers)

    messages = [
        {"role": role, "content": f"{turn} " * 8} for turn in range(60) for role in ("user", "assistant")
    ]
    long = kept.create(base.name, messages=messages, max_new_tokens=12)
    with pytest.raises(InvalidInput, match="more than the 512 that the model reads") as full:
        kept.ask(long.id, "?")
    assert full.value.details["prompt_tokens"] > full.value.details["context_tokens"] == 512
    (fitted,) = kept.ask(long.id, "?", drop_oldest=True).answers
    assert 0 < fitted.dropped_turns < 60
    assert 512 - 60 < fitted.prompt_tokens + 12 <= 512, "no more turns than must"

    kept.rate(made.id, first.number, corrected="it is 7, of course.")
    rated = kept.make_dataset("rated-chat")
    assert (rated.version, rated.rows) == ("rated-chat@1", 1)
    task = completed(warm.client, submit_short(warm.client, warm.model, Path("rated-chat"), 2, max_length=64))
    assert task.state is State.COMPLETED


def test_a_checkpoint_is_talked_to_until_its_base_is_stopped(
    warm: Platform, trained: TaskView, client: openai.OpenAI
) -> None:
    def said(model: str, **more: Any) -> tuple[str, int]:
        stream = client.chat.completions.create(
            model=model,
            messages=ASKED,
            stream=True,
            stream_options={"include_usage": True},
            **{"max_tokens": 12, "temperature": 0, "seed": 1} | more,
        )
        chunks = list(stream)
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        assert chunks[-1].usage is not None
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return text, chunks[-1].usage.completion_tokens

    base = warm.client.models.register(str(warm.model))
    checkpoint = said(f"{trained.id}:5")
    assert said(f"{trained.id}:latest") == said(trained.id) == checkpoint, "the same weights and seed"
    assert said(base.name)[1] > 0
    with pytest.raises(openai.BadRequestError) as refused:
        said(base.name, max_tokens=8000)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "max_tokens")
    held = said(f"{trained.id}:5", max_tokens=200, response_format=_FORMAT, n=1, logit_bias={"5": -1})[0]
    assert json.loads(held) in [{"sum": number} for number in (7, 8)], "a model that knows no JSON writes it"
    with pytest.raises(openai.BadRequestError) as untold:
        said(base.name, tools=[{"type": "function", "function": {"name": "add"}}])
    assert untold.value.param == "tools", "its template knows none"
    (served,) = [one for one in warm.client.chats.served() if one.base == base.path]
    assert served.state == "ready"

    answering = list(replicas(warm.home))  # looking for them takes longer than a small model's whole answer
    ends = {str(token): -100 for token in special_tokens(warm.model)}  # chance ends no answer before the kill
    with slowed(warm.home):
        stream = client.chat.completions.create(
            model=base.name, messages=ASKED, stream=True, temperature=1.5, max_tokens=400, logit_bias=ends
        )
        next(iter(stream))
        for pid in answering:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(openai.APIError):
            list(stream)
    assert said(f"{trained.id}:5") == checkpoint, "the next question is answered"

    assert served.task_id is not None
    warm.client.stop_task(served.task_id)
    assert warm.client.wait(served.task_id, timeout=60).state is State.STOPPED
    wait_until(lambda: not list(replicas(warm.home)), 30, "the end of the replica")


def special_tokens(model: Path) -> list[int]:
    """The ids of the tokens that are no text, those that end an answer among them."""
    added = json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    return [one["id"] for one in added if one["special"]]


@contextlib.contextmanager
def slowed(home: Home) -> Iterator[None]:
    """The engines compute a tenth of the time: a small model's answer lasts some seconds."""
    engines = [
        child.pid
        for pid in replicas(home)
        for child in psutil.Process(pid).children(recursive=True)
        if "tunesmith_serve.llama_cpp.process" in child.cmdline()
    ]
    assert engines
    is_over = threading.Event()

    def hold() -> None:
        while not is_over.wait(0.01):
            for what in (signal.SIGSTOP, signal.SIGCONT):
                for engine in engines:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(engine, what)  # psutil looks at the process first, and lets it run meanwhile
                if what == signal.SIGSTOP:
                    is_over.wait(0.1)

    holding = threading.Thread(target=hold)
    holding.start()
    try:
        yield
    finally:
        is_over.set()
        holding.join()


@pytest.mark.long
@pytest.mark.timeout(600)  # the model is started three times
def test_what_was_said_before_a_kill_is_kept_and_asked_anew(warm: Platform) -> None:
    """The replica is killed in the middle of an answer, then the driver of another one."""
    kept, base = warm.client.conversations, warm.client.models.register(str(warm.model))
    made = kept.create(base.name, temperature=1.5, seed=7, max_new_tokens=4)
    kept.ask(made.id, "what is 3 plus 4?")
    answering = list(replicas(warm.home))
    with slowed(warm.home):
        answer = kept.stream(made.id, "and now?", idempotency_key="cut", max_new_tokens=400)
        parts = [next(part.text for part in answer if part.text)]
        for pid in answering:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="cut off: it is not whole"):
            parts.extend(part.text for part in answer)
    heard = "".join(parts)
    turn = kept.show(made.id).said[1]
    (cut,) = turn.answers
    assert (cut.state, cut.text, cut.finish_reason) == ("cut", heard, None)
    assert "cut off" in cut.why

    again = kept.ask(made.id, "and now?", idempotency_key="cut", max_new_tokens=400)
    (whole,) = again.answers
    assert (again.number, whole.state, whole.why) == (turn.number, "whole", "")
    assert whole.text.startswith(heard), "the same seed and conversation"
    assert len(whole.text) > len(heard)
    assert len(kept.show(made.id).said) == 2

    (served,) = [one for one in warm.client.chats.served() if one.base == base.path]
    task_id = str(served.task_id)
    looking_after = drivers(warm.home, task_id)
    assert looking_after
    other = kept.create(base.name, temperature=1.5, seed=8)
    with slowed(warm.home):
        answer = kept.stream(other.id, "and then?", max_new_tokens=400)
        heard = next(part.text for part in answer if part.text)
        for pid in looking_after:
            os.kill(pid, signal.SIGKILL)
        heard += "".join(part.text for part in answer)
    assert kept.show(other.id).said[0].answers[0].text == heard, "an answer goes on without the driver"
    wait_until(lambda: warm.client.task(task_id).attempt == 2, 60, "another attempt")
    (last,) = kept.ask(other.id, "and at last?", max_new_tokens=4).answers
    assert last.state == "whole"
    warm.client.stop_task(task_id)
    assert warm.client.wait(task_id, timeout=60).state is State.STOPPED
    wait_until(lambda: not list(replicas(warm.home)), 30, "the end of the replicas")


def test_what_answers_is_proven_and_so_is_a_packaged_file(
    warm: Platform, trained: TaskView, client: openai.OpenAI
) -> None:
    """The proof's process is killed in the middle of its work; another one finds it out."""

    def said(model: str) -> dict[str, Any]:
        answer = client.chat.completions.create(model=model, messages=ASKED, max_tokens=4, temperature=0)
        assert answer.choices[0].finish_reason in ("stop", "length")
        return dict(answer.model_extra or {})

    name = f"{trained.id}:5"
    said(name)
    if (
        warm.client.chats.named(name).proof.state != "pending"
    ):  # what a test before began was stopped at its end
        warm.client.chats.prove(name)
    wait_until(lambda: warm.client.chats.named(name).proof.task_id, 30, "the task of the proof")
    task_id = str(warm.client.chats.named(name).proof.task_id)
    wait_until(lambda: drivers(warm.home, task_id), 60, "the process that proves")
    for pid in drivers(warm.home, task_id):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: warm.client.chats.named(name).proof.state == "proven", 150, "the proof")
    proof = warm.client.chats.named(name).proof
    assert proof.tokens is not None
    assert proof.tokens >= 1000
    assert warm.client.task(str(proof.task_id)).attempt == 2
    assert said(name) == {"tunesmith": {"proof": "proven"}}

    packaged = warm.client.package(trained.id, ["Q8_0"], checkpoint=5)
    assert warm.client.wait(packaged.id, timeout=180).state is State.COMPLETED
    assert said(f"{name}:Q8_0") == {"tunesmith": {"proof": "proven"}}
    for one in warm.client.chats.served():
        if one.state in ("ready", "idle") and one.task_id is not None:
            warm.client.stop_task(one.task_id)
            warm.client.wait(one.task_id, timeout=60)

"""The process that writes prompts: a model's own chat template runs here, and nowhere else in a replica.

The sandbox of templates bounds what they write, not their time. So they run in a process of their own, which is ended
when one takes too long, and may take no more memory than a bound. It answers one question at a time, in JSON with four
bytes of length before it, over its standard input and output; it ends when its input does.

`... --library ENCODER TOKENIZER SCRATCH` asks transformers for the tokenizer of a folder instead, as a training does,
and prints where it lies: in a process that goes again, for the library takes 400 MB.
"""

import contextlib
import json
import os
import resource
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypedDict

from tunesmith.chat.tool_forms import CLOSE_THOUGHT, FORMS, OPEN_THOUGHT, PYTHON_TAG, CallForm, form_of
from tunesmith.errors import TunesmithError
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.rendering import PROBE_NAME
from tunesmith.rows.chat.template import find_special_tokens, find_template
from tunesmith.rows.chat.turns import Conversation, Message
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.json_text import packed
from tunesmith.rows.tokens.texts import TextEncoder
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer, vocab_size
from tunesmith_jobs.models.prompting import ALL
from tunesmith_serve.grammar import Rules, Thought

_MEMORY_BYTES = 4 * 2**30
"""Of addresses; what a template may make at most, beside the tokenizers."""
_KEPT = 3
_LAST = 8
"""Tokens of a prompt in which it is seen whether it opens a thought."""
LENGTH = struct.Struct(">I")


class Opened(NamedTuple):
    """What writes the prompts of a model."""

    talks: PromptEncoder | None
    """None where the model has no chat template."""
    texts: TextEncoder
    ends: list[int]
    """The tokens that end its answers."""
    tokenizer: Any
    """Of the `tokenizers` library."""

    @property
    def form(self) -> CallForm | None:
        """How it writes calls of tools; None where in no form that is known here."""
        renderer = self.talks.renderer if self.talks is not None else None
        return form_of(renderer.written_call, PROBE_NAME) if renderer is not None else None

    def marks(self, form: CallForm | None) -> list[int]:
        """The tokens of the marks that are a part of an answer's text, control tokens or not."""
        texts = [OPEN_THOUGHT, CLOSE_THOUGHT]
        texts += [form.begin, form.end, form.between, PYTHON_TAG] if form is not None else []
        found = (self.tokenizer.token_to_id(text) for text in texts if text)
        return [token for token in found if token is not None]


class _Wanted(TypedDict):
    """What an answer is held to."""

    has_format: bool
    """Whether it may be JSON."""
    schema: dict[str, Any] | None
    """Of that; None: any object."""
    tools: list[dict[str, Any]] | None
    """Those that it may call; None: none."""
    several: bool
    """Whether more than one."""
    strict: list[str] | None
    """Those that are called by their parameters in an answer that may be text; None: it may not."""
    field: str
    """Where the schema lies in the request."""
    thought: Thought
    """What may stand before it."""


class Writer:
    """Writes prompts, with the encoders of the models that were asked for last."""

    def __init__(self) -> None:
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._rules: tuple[Opened, Rules] | None = None
        """What makes grammars for the model that was asked last so."""

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The tokens of a question, and those that end its answer; or why it cannot be asked."""
        try:
            opened = self._open(asked["model"])
        except TunesmithError as error:
            return _refused(error.message, error.hint, "model")
        try:
            if asked.get("holds"):
                self._rules_of(opened)
                return {}
            if "rules" in asked:
                return {"grammar": self._grammar(opened, asked["rules"])}
            return self._prompt(opened, asked)
        except TunesmithError as error:
            field = next((problem.field for problem in error.problems if problem.field), "model")
            return _refused(error.message, error.hint, field)
        except RowProblem as problem:
            return _refused(problem.message, problem.hint, "messages")
        except (MemoryError, RecursionError) as error:
            return _refused(
                f"Writing the prompt takes too much: {type(error).__name__}.", "Shorten the conversation."
            )

    def _prompt(self, opened: Opened, asked: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"ends": opened.ends, "has_template": opened.talks is not None}
        if asked.get("prompt") is not None:
            return found | {"ids": opened.texts.prompt(asked["prompt"])}
        if asked.get("messages") is None:
            return found | {"ids": []}
        if opened.talks is None:
            return _refused(
                "The model has no chat template: it goes on with texts, and takes no conversation.",
                "Ask it with a `prompt` (`/completions`), or name a `chat_template` where it is served.",
                "messages",
            )
        turns: list[Message] = [_turn(turn) for turn in asked["messages"]]
        if not opened.talks.renderer.takes_reasoning:
            # Clients send back whatever they were given of an answer, also what this model's talks never hold.
            turns = [turn._replace(reasoning="") for turn in turns]
        form = None
        if asked.get("tools"):
            if not opened.talks.renderer.takes_tools:
                return _refused(
                    "The model's chat template knows no tools: it would call what it was never shown.",
                    "Leave `tools` out, or ask a model whose `chat_template` takes them, such as `qwen`.",
                    "tools",
                )
            form = opened.form
            if form is None:
                return _refused(
                    "The model's chat template writes calls of tools in a form that is not read here.",
                    f"Read are those of {', '.join(dict.fromkeys(one.name for one in FORMS))}.",
                    "tools",
                )
            turns = Conversation(turns, packed(asked["tools"]))
        ids = opened.talks.prompt(turns, asked.get("variables"))
        end = opened.tokenizer.decode(ids[-_LAST:], skip_special_tokens=False)
        return found | {
            "ids": ids,
            "form": form,
            "shown": opened.marks(form),
            "thinks": end.rstrip().endswith(OPEN_THOUGHT),
        }

    def _grammar(self, opened: Opened, rules: "_Wanted") -> str:
        """The grammar of what an answer is held to.

        Raises:
            InvalidInput: It cannot be held to.
        """
        made, bodies = self._rules_of(opened), []
        if rules["has_format"]:
            bodies.append(made.json(rules["schema"], rules["field"]))
        if rules["tools"] is not None:
            form = opened.form
            assert form is not None, "its prompt is written first"
            strict = None if rules["strict"] is None else frozenset(rules["strict"])
            bodies.append(made.calls(rules["tools"], form, several=rules["several"], strict=strict))
        return made.made(bodies[0], rules["thought"], *bodies[1:])

    def _rules_of(self, opened: Opened) -> Rules:
        """What makes grammars for a model: made once, which takes as long as reading its tokenizer."""
        if self._rules is None or self._rules[0] is not opened:
            self._rules = opened, Rules(opened.tokenizer.to_str())
        return self._rules[1]

    def _open(self, model: dict[str, Any]) -> Opened:
        key = json.dumps(model, sort_keys=True)
        if key not in self._opened:
            self._opened[key] = _opened(model)
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]


def _opened(model: dict[str, Any]) -> Opened:
    encoder, base, own = Path(model["encoder"]), Path(model["base"]), model["tokenizer"]
    source, template = Path(own) if own else encoder, model["chat_template"]
    talks = None
    if template or find_template(source) is not None or find_template(encoder) is not None:
        talks = PromptEncoder.from_folder(encoder, ALL, tokenizer=own, chat_template=template)
    tokenizer = load_tokenizer(source)
    texts = TextEncoder(tokenizer, None, None, vocab_size(encoder))
    ends = {talks.end_of_answer() if talks else None}
    ends |= {tokenizer.token_to_id(find_special_tokens(source).get("eos_token") or "")}
    for file in (base / "generation_config.json", base / "config.json"):
        value = read_object(file).get("eos_token_id") if file.is_file() else None
        ends |= set(value) if isinstance(value, list) else {value}
    ends = {one for one in ends if isinstance(one, int) and one >= 0}
    return Opened(talks, texts, sorted(ends), tokenizer)


def _turn(turn: dict[str, Any]) -> Message:
    calls = [
        ({"id": call["id"]} if call["id"] else {})
        | {"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in turn.get("tool_calls") or []
    ]
    return Message(
        turn["role"],
        turn["content"],
        reasoning=turn.get("reasoning", ""),
        calls=packed(calls) if calls else "",
        name=turn.get("name", ""),
        call_id=turn.get("tool_call_id", ""),
    )


def _refused(message: str, hint: str | None, field: str | None = None) -> dict[str, Any]:
    return {"refused": {"message": message, "hint": hint, "field": field}}


def _library(encoder: str, tokenizer: str, scratch: str) -> dict[str, Any]:
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer
    from tunesmith_jobs.models.reading import stay_offline

    stay_offline()
    try:
        found = library_tokenizer(Path(encoder), Path(tokenizer) if tokenizer else None, Path(scratch))
    except TunesmithError as error:
        return _refused(error.message, error.hint, "model")
    return {"folder": str(found.folder) if found.folder else None}


def _read(stream: BinaryIO) -> dict[str, Any] | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    found: dict[str, Any] = json.loads(stream.read(LENGTH.unpack(head)[0]))
    return found


def main() -> None:
    """See the module."""
    with contextlib.suppress(ValueError, OSError):  # a container may have a lower bound already
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    writer = Writer()
    while (asked := _read(sys.stdin.buffer)) is not None:
        data = json.dumps(writer.answer(asked)).encode()
        answers.write(LENGTH.pack(len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--library"]:
        print(json.dumps(_library(*sys.argv[2:5])))  # noqa: T201  (its answer)
    else:
        main()

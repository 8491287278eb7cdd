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
from typing import Any, BinaryIO, NamedTuple

from tunesmith.errors import TunesmithError
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.template import find_special_tokens, find_template
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.tokens.texts import TextEncoder
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer, vocab_size
from tunesmith_jobs.models.prompting import ALL

_MEMORY_BYTES = 4 * 2**30
"""Of addresses; what a template may make at most, beside the tokenizers."""
_KEPT = 3
LENGTH = struct.Struct(">I")


class Opened(NamedTuple):
    """What writes the prompts of a model."""

    talks: PromptEncoder | None
    """None where the model has no chat template."""
    texts: TextEncoder
    ends: list[int]
    """The tokens that end its answers."""


class Writer:
    """Writes prompts, with the encoders of the models that were asked for last."""

    def __init__(self) -> None:
        self._opened: OrderedDict[str, Opened] = OrderedDict()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The tokens of a question, and those that end its answer; or why it cannot be asked."""
        try:
            opened = self._open(asked["model"])
            found = {"ends": opened.ends, "has_template": opened.talks is not None}
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
            turns = [Message(turn["role"], turn["content"]) for turn in asked["messages"]]
            return found | {"ids": opened.talks.prompt(turns, asked.get("variables"))}
        except TunesmithError as error:
            return _refused(error.message, error.hint, "model")
        except RowProblem as problem:
            return _refused(problem.message, problem.hint, "messages")
        except (MemoryError, RecursionError) as error:
            return _refused(
                f"Writing the prompt takes too much: {type(error).__name__}.", "Shorten the conversation."
            )

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
    return Opened(talks, texts, sorted(one for one in ends if isinstance(one, int) and one >= 0))


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

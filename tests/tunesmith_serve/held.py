"""Schemas, and models that are held to them, of tests about formats. No test itself."""

# ruff: noqa: E501  (schemas, one a line)

import asyncio
import json
from asyncio.subprocess import Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chat_templates as zoo
import numpy as np
import pytest
from fake_engine import ask, served
from tiny_model import make_tokenizer_folder
from tokenizers import AddedToken, Tokenizer

from tunesmith.chat.settings import Sampling
from tunesmith.chat.wire import Ask, Refused
from tunesmith_serve.answering import Prompt, Refusal
from tunesmith_serve.constraint import Constraints, Grammar
from tunesmith_serve.grammar import Rules
from tunesmith_serve.prompts import Prompts
from tunesmith_serve.sampling import Draw
from tunesmith_serve.text import AnswerText

NAMED = {"type": "object", "additionalProperties": False}
SCHEMAS: dict[str, Any] = {
    "flat": NAMED
    | {
        "properties": {"city": {"type": "string", "maxLength": 12}, "hot": {"type": "boolean"}, "n": {"enum": [1, "x"]}},
        "required": ["city", "hot", "n"],
    },
    "nested": NAMED
    | {
        "properties": {"rows": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"$ref": "#/$defs/row"}}},
        "required": ["rows"],
        "$defs": {
            "row": NAMED
            | {
                "properties": {"at": {"type": "integer", "minimum": 0, "maximum": 9}, "or": {"anyOf": [{"type": "null"}, {"const": "y"}]}},
                "required": ["at", "or"],
            }
        },
    },
    "recursive": {
        "$ref": "#/$defs/node",
        "$defs": {"node": NAMED | {"properties": {"v": {"const": 1}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["v", "next"]}},
    },
    "pattern": NAMED | {"properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}, "day": {"type": "string", "format": "date"}}, "required": ["zip", "day"]},
    "optional": {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}}, "additionalProperties": False},
    "an array": {"type": "array", "items": {"type": "boolean"}, "maxItems": 4},
}  # fmt: skip
TEMPLATES = {
    "Hermes and Qwen": zoo.TOOLS_OF_WORDS,
    "Llama 3": zoo.TOOLS_IN_THE_QUESTION,
    "Mistral": zoo.TOOLS_AT_THE_LAST_QUESTION,
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMAS["flat"]}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ASKED = [{"role": "user", "content": "What now?"}]


def folder_of(place: Path, template: str, added: list[AddedToken] | None = None) -> Path:
    make_tokenizer_folder(place, template=template)
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.add_special_tokens(zoo.EXTRA_TOKENS)
    tokenizer.add_tokens(added or [])
    tokenizer.save(str(place / "tokenizer.json"))
    config = json.loads((place / "tokenizer_config.json").read_text()) | {
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    (place / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 2000}))
    return place


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("grammar") / "model", zoo.TOOLS_OF_WORDS)


@pytest.fixture(scope="module")
def rules(plain: Path) -> Rules:
    return Rules((plain / "tokenizer.json").read_text())


class Written:
    """A process that writes prompts, in a loop of its own."""

    def __init__(self, place: Path) -> None:
        self.runner = asyncio.Runner()
        self.prompts = Prompts(place)

    def __call__(self, folder: Path, **more: Any) -> Prompt:
        model = served().model_copy(
            update={
                "base_path": str(folder),
                "encoder_path": str(folder),
                "training": {"model_name_or_path": str(folder), "train_file": "/t"},
            }
        )
        question: Ask = ask(model, **{"messages": ASKED} | more)
        return self.runner.run(self.prompts.write(question))

    @property
    def process(self) -> Process:
        """The one that writes now."""
        assert self.prompts._process._process is not None
        return self.prompts._process._process

    def end(self) -> None:
        """End it; the next question starts another one."""
        self.runner.run(self.prompts._process.end())

    def refused(self, folder: Path, **more: Any) -> Refused:
        with pytest.raises(Refusal) as found:
            self(folder, **more)
        return found.value.refused


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    async def same(*_: Any) -> None:
        return None

    monkeypatch.setattr(Prompts, "_library", same)
    found = Written(tmp_path / "cache")
    yield found
    found.runner.run(found.prompts.close())
    found.runner.close()


def drawn(
    grammar: Grammar, tokenizer: Tokenizer, seed: int, end: int, most: int = 400, **how: Any
) -> list[int]:
    """An answer of a model that says anything at all, with a liking for the ends of things."""
    words = tokenizer.get_vocab_size() + 24
    likes = np.zeros(words, np.float32)
    for text, token in tokenizer.get_vocab().items():
        likes[token] += 5 * any(letter in text for letter in '"}]<') + 2 * text.isalnum()
    likes[end] += 9
    numbers = np.random.default_rng(seed)
    rule = Constraints(words).made(grammar, frozenset([end]))
    draw = Draw(Sampling(**{"temperature": 1.0, "seed": seed} | how), [], rule)
    ids: list[int] = []
    while len(ids) < most:
        token = draw.next(likes + numbers.standard_normal(words).astype(np.float32)).id
        ids.append(token)
        if token == end:
            break
    return ids


def said(tokenizer: Tokenizer, ids: list[int], end: int, shown: frozenset[int] = frozenset()) -> str:
    text = AnswerText(tokenizer, shown=shown)

    class _Token:
        def __init__(self, number: int) -> None:
            self.id, self.logprob, self.top = number, None, ()

    parts = [text.add(_Token(one)).text for one in ids if one != end]  # type: ignore[arg-type]
    return "".join([*parts, text.finish().text])

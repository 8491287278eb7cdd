"""Prompts of questions, written as the training wrote its rows: by the process of `prompt_process`, one after another.

Knows the process and what it is asked; renders nothing itself. Used from one event loop.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from tunesmith.chat.tool_forms import CallForm
from tunesmith.chat.wire import Ask, Refused, ServedModel
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import TOKENIZER_FILES, is_plain_file
from tunesmith.removal import claim, discard
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith.spec.training import TrainSpec
from tunesmith_serve.answering import Prompt, Refusal
from tunesmith_serve.bounded_process import Bound, BoundedProcess, kill, within
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.once import alone

WRITE_SECONDS = 10.0
"""How much of a processor writing a prompt may take, the reading of its tokenizer included."""
GRAMMAR_SECONDS = 4.0
"""The same of reading a schema."""
LIBRARY_SECONDS = 90.0
"""The same of having the library read a tokenizer."""
_LIBRARIES = ("transformers", "tokenizers")
_KEPT = 32
_OWNER = "tokenizers"
_ANSWER = "found.json"


class _Model(NamedTuple):
    """A model's tokenizer."""

    asked: dict[str, Any]
    """What the process is told of it."""
    tokenizer: Any
    file: Path
    """Of the tokenizer."""


_SCHEMAS = Bound(
    GRAMMAR_SECONDS,
    "The schema takes more than {:g} s of a processor to read.",
    "Make it simpler.",
    "response_format",
)


class Prompts:
    """Writes prompts.

    Args:
        cache: Where tokenizers are written down, once for all replicas of a node.
        seconds: How much of a processor writing a prompt may take.
    """

    def __init__(self, cache: Path, seconds: float = WRITE_SECONDS) -> None:
        self._cache = cache / "tokenizers"
        self._templates = Bound(
            seconds,
            "The model's chat template takes more than {:g} s of a processor for this conversation.",
            "Shorten the conversation, or serve the model with another `chat_template`.",
            "messages",
        )
        self._process = BoundedProcess("tunesmith_serve.prompt_process")
        self._models: OrderedDict[str, asyncio.Task[_Model]] = OrderedDict()
        self._folders: dict[str, asyncio.Task[str | None]] = {}
        """The library's tokenizer by what a folder's files hold: checkpoints of one training share it."""
        self._tokenizers: dict[str, Any] = {}

    async def write(self, ask: Ask) -> Prompt:
        """The tokens of a question.

        Raises:
            Refusal: It cannot be written, or takes too long.
        """
        model = await self._model(ask.model)
        _require_words(ask, model.tokenizer)
        tools = ask.tools
        question = {
            "model": model.asked,
            "messages": None if ask.messages is None else [turn.model_dump() for turn in ask.messages],
            "prompt": ask.prompt,
            "variables": ask.template_variables,
            "tools": tools.offered if tools is not None else None,
        }
        found = await self._process.ask(question, self._templates)
        if "refused" in found:
            raise Refusal(Refused(code="invalid_input", **found["refused"]))
        calls = CallForm(*found["form"]) if found.get("form") else None
        grammar = await self._grammar(ask, model, calls, thinks=found.get("thinks", False))
        return Prompt(
            ids=found["ids"],
            ends=frozenset(found["ends"]),
            tokenizer=model.tokenizer,
            grammar=grammar,
            calls=calls,
            names=frozenset(tool["function"]["name"] for tool in tools.offered) if tools else frozenset(),
            calls_one=tools is not None and not tools.parallel,
            shown=frozenset(found.get("shown", ())),
            thinks=found.get("thinks", False),
        )

    async def _grammar(
        self, ask: Ask, model: _Model, calls: CallForm | None, *, thinks: bool
    ) -> Grammar | None:
        """What the answer is held to; None for nothing.

        Raises:
            Refusal: It cannot be held to that.
        """
        tools, form = ask.tools, ask.format
        must = tools is not None and tools.must
        # A call without a mark before it is told from text by its whole: nothing is held then.
        is_text = form is None and not must
        if is_text and not (tools is not None and tools.strict and calls is not None and calls.begin):
            return None
        offered = None
        if tools is not None:
            named = [{**tool, "field": f"tools[{place}]"} for place, tool in enumerate(tools.offered)]
            offered = [tool for tool in named if tools.only in (None, tool["function"]["name"])]
        field = form.field if form is not None and not must else "tools"
        may_think = is_text or ask.template_variables.get("enable_thinking") is True
        rules = {
            "has_format": form is not None and not must,
            "schema": form.json_schema if form is not None else None,
            "tools": offered,
            "several": tools is not None and tools.parallel and tools.only is None,
            "strict": sorted(tools.strict) if is_text and tools is not None else None,
            "field": field,
            "thought": "open" if thinks else "may" if may_think else "none",
        }
        holds = {"model": model.asked, "holds": True}
        found = await self._process.ask(holds, self._templates)  # what is slow of it is no schema's fault
        if "refused" not in found:
            found = await self._process.ask(
                {"model": model.asked, "rules": rules}, _SCHEMAS._replace(field=field)
            )
        if "refused" in found:
            raise Refusal(Refused(code="invalid_input", **found["refused"]))
        return Grammar(found["grammar"], str(model.file))

    async def prepare(self, model: ServedModel) -> None:
        """Do what the first question would wait for.

        Raises:
            Refusal: The model's tokenizer cannot be read.
        """
        found = await self._model(model)
        await self._process.ask({"model": found.asked}, self._templates)

    async def close(self) -> None:
        """End the process."""
        for task in [*self._models.values(), *self._folders.values()]:
            task.cancel()
        await self._process.end()

    async def _model(self, model: ServedModel) -> _Model:
        key = json.dumps(
            [model.weights, model.encoder_path, model.tokenizer_path, model.base_path, model.training],
            sort_keys=True,
        )
        task = self._models.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._models[key] = asyncio.create_task(self._look(model))
            if len(self._models) > _KEPT:
                self._models.popitem(last=False)
                self._forget()
        self._models.move_to_end(key)
        return await asyncio.shield(task)

    def _forget(self) -> None:
        """Forget the tokenizers that no model kept here has."""
        done = [task for task in self._models.values() if task.done() and not task.cancelled()]
        used = {id(task.result().tokenizer) for task in done if task.exception() is None}
        self._tokenizers = {seen: one for seen, one in self._tokenizers.items() if id(one) in used}

    async def _look(self, model: ServedModel) -> _Model:
        """Find out with which tokenizer a model's rows were written, as a training does."""
        encoder, own = Path(model.encoder_path), model.tokenizer_path
        source = Path(own) if own else encoder
        seen = await asyncio.to_thread(_print_of, {encoder, source})
        task = self._folders.get(seen)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._folders[seen] = asyncio.create_task(self._library(encoder, own, seen))
        folder = await asyncio.shield(task) or own
        if seen not in self._tokenizers:
            try:
                self._tokenizers[seen] = await asyncio.to_thread(load_tokenizer, Path(folder or encoder))
            except TunesmithError as error:
                raise _refusal(error) from error
        return _Model(
            {
                "encoder": str(encoder),
                "tokenizer": folder,
                "base": model.base_path if model.file is None else str(encoder),
                "chat_template": TrainSpec.stored(model.training).chat_template,
            },
            self._tokenizers[seen],
            Path(folder or encoder) / "tokenizer.json",
        )

    async def _library(self, encoder: Path, own: str | None, seen: str) -> str | None:
        """The folder of the library's tokenizer; None where the model's own files say the same."""
        kept = self._cache / seen
        if (found := _kept(kept)) is not None:
            return found.folder
        waiting = alone(self._cache.parent, f"tokenizer-{seen}")
        await asyncio.to_thread(waiting.__enter__)
        try:
            if (found := _kept(kept)) is not None:
                return found.folder
            return await self._made_by_library(encoder, own, kept)
        finally:
            waiting.__exit__(None, None, None)

    async def _made_by_library(self, encoder: Path, own: str | None, kept: Path) -> str | None:
        made = kept.with_name(f"{kept.name}-{os.urandom(4).hex()}")
        claim(made, _OWNER)
        try:
            found = await self._asked_library(encoder, own, made)
            (made / _ANSWER).write_text(found.model_dump_json())
            with contextlib.suppress(OSError):  # another replica was quicker
                made.rename(kept)
            there = _kept(kept)
            assert there is not None
            return there.folder
        finally:
            await asyncio.to_thread(discard, made, _OWNER)

    async def _asked_library(self, encoder: Path, own: str | None, made: Path) -> "_Found":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tunesmith_serve.prompt_process", "--library",
            str(encoder), own or "", str(made), stdout=PIPE,
        )  # fmt: skip
        try:
            data, _ = await within(process, process.communicate(), LIBRARY_SECONDS)
            found = json.loads(data)
        except (TimeoutError, ValueError) as error:
            raise Refusal(
                Refused(code="failed", message="The library does not read the model's tokenizer.")
            ) from error
        finally:
            kill(process)
        if "refused" in found:
            raise Refusal(Refused(code="invalid_input", **found["refused"]))
        return _Found(name=Path(found["folder"]).name if found["folder"] else None)


class _Found(BaseModel):
    """What the library made of a tokenizer, as it is kept."""

    name: str | None
    """Of the folder; None where the model's own files say the same."""
    place: Path = Field(Path(), exclude=True)

    @property
    def folder(self) -> str | None:
        """The folder."""
        return str(self.place / self.name) if self.name else None


def _kept(place: Path) -> _Found | None:
    try:
        return _Found.model_validate_json((place / _ANSWER).read_bytes()).model_copy(update={"place": place})
    except (OSError, ValueError):
        return None


def _print_of(folders: set[Path]) -> str:
    """What tells the tokenizer files of folders from others', and from what another library makes of them."""
    found = hashlib.sha256("".join(f"{name} {version(name)} " for name in _LIBRARIES).encode())
    for folder in sorted(folders):
        for name in (*TOKENIZER_FILES, "config.json"):
            if is_plain_file(folder / name):
                found.update(f"{name}:{(folder / name).stat().st_size}:".encode())
                found.update((folder / name).read_bytes())
        found.update(b"|")
    return found.hexdigest()[:16]


def _require_words(ask: Ask, tokenizer: Any) -> None:
    """See that the tokens that are weighted are the model's.

    Raises:
        Refusal: One is not.
    """
    words = tokenizer.get_vocab_size()
    other = next((token for token in ask.sampling.logit_bias if not 0 <= token < words), None)
    if other is not None:
        raise Refusal(
            Refused(
                code="invalid_input",
                message=f"`{other}` is none of the model's {words} tokens.",
                field="logit_bias",
            )
        )


def _refusal(error: TunesmithError) -> Refusal:
    return Refusal(Refused(code="invalid_input", message=error.message, hint=error.hint, field="model"))

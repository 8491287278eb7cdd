"""Prompts of questions, written as the training wrote its rows: by the process of `prompt_process`, one after another.

Knows the process and what it is asked; renders nothing itself. Used from one event loop.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pydantic import BaseModel, Field

from tunesmith.chat.tool_forms import CallForm
from tunesmith.chat.wire import Ask, Refused, ServedModel
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import TOKENIZER_FILES, is_plain_file
from tunesmith.removal import claim, discard
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith.spec.training import TrainSpec
from tunesmith_serve.answering import Prompt, Refusal
from tunesmith_serve.constraint import Grammar
from tunesmith_serve.once import alone
from tunesmith_serve.prompt_process import LENGTH

WRITE_SECONDS = 10.0
"""How much of a processor writing a prompt may take, the reading of its tokenizer included."""
GRAMMAR_SECONDS = 4.0
"""The same of reading a schema."""
_WALL = 6
"""How many times as long it may take where the machine is busy."""
_LOOK_SECONDS = 0.5
_LIBRARY_SECONDS = 90.0
_LIBRARIES = ("transformers", "tokenizers")
_KEPT = 32
_OWNER = "tokenizers"
_ANSWER = "found.json"
_log = logging.getLogger("tunesmith_serve.prompts")


class _Model(NamedTuple):
    """A model's tokenizer."""

    asked: dict[str, Any]
    """What the process is told of it."""
    tokenizer: Any
    file: Path
    """Of the tokenizer."""


class _Bound(NamedTuple):
    """How much of a processor a question to the process may take, and what is said of one that takes more."""

    seconds: float
    message: str
    hint: str
    field: str


_SCHEMAS = _Bound(
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
        self._templates = _Bound(
            seconds,
            "The model's chat template takes more than {:g} s of a processor for this conversation.",
            "Shorten the conversation, or serve the model with another `chat_template`.",
            "messages",
        )
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        """Questions to the process are answered in their order."""
        self._models: OrderedDict[str, asyncio.Task[_Model]] = OrderedDict()
        self._folders: dict[str, asyncio.Task[str | None]] = {}
        """The library's tokenizer by what a folder's files hold: checkpoints of one training share it."""
        self._tokenizers: dict[str, Any] = {}
        self._under_way: set[asyncio.Task[dict[str, Any]]] = set()

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
        found = await self._ask(question)
        if "refused" in found:
            raise Refusal(Refused(code="invalid_input", **found["refused"]))
        grammar = await self._grammar(ask, model, thinks=found.get("thinks", False))
        return Prompt(
            ids=found["ids"],
            ends=frozenset(found["ends"]),
            tokenizer=model.tokenizer,
            grammar=grammar,
            calls=CallForm(*found["form"]) if found.get("form") else None,
            names=frozenset(tool["function"]["name"] for tool in tools.offered) if tools else frozenset(),
            calls_one=tools is not None and not tools.parallel,
            shown=frozenset(found.get("shown", ())),
            thinks=found.get("thinks", False),
        )

    async def _grammar(self, ask: Ask, model: _Model, *, thinks: bool) -> Grammar | None:
        """What the answer is held to; None for nothing.

        Raises:
            Refusal: It cannot be held to that.
        """
        tools, form = ask.tools, ask.format
        if form is None and (tools is None or not tools.must):
            return None
        must = tools is not None and tools.must
        offered = None
        if tools is not None:
            named = [{**tool, "field": f"tools[{place}]"} for place, tool in enumerate(tools.offered)]
            offered = [tool for tool in named if tools.only in (None, tool["function"]["name"])]
        field = form.field if form is not None and not must else "tools"
        may_think = ask.template_variables.get("enable_thinking") is True
        rules = {
            "has_format": form is not None and not must,
            "schema": form.json_schema if form is not None else None,
            "tools": offered,
            "several": tools is not None and tools.parallel and tools.only is None,
            "field": field,
            "thought": "open" if thinks else "may" if may_think else "none",
        }
        found = await self._ask(
            {"model": model.asked, "holds": True}
        )  # what is slow of it is no schema's fault
        if "refused" not in found:
            found = await self._ask({"model": model.asked, "rules": rules}, _SCHEMAS._replace(field=field))
        if "refused" in found:
            raise Refusal(Refused(code="invalid_input", **found["refused"]))
        return Grammar(found["grammar"], str(model.file))

    async def prepare(self, model: ServedModel) -> None:
        """Do what the first question would wait for.

        Raises:
            Refusal: The model's tokenizer cannot be read.
        """
        found = await self._model(model)
        await self._ask({"model": found.asked})

    async def close(self) -> None:
        """End the process."""
        for task in [*self._models.values(), *self._folders.values()]:
            task.cancel()
        await self._end()

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
            data, _ = await asyncio.wait_for(process.communicate(), _LIBRARY_SECONDS)
            found = json.loads(data)
        except (TimeoutError, ValueError) as error:
            raise Refusal(
                Refused(code="failed", message="The library does not read the model's tokenizer.")
            ) from error
        finally:
            _kill(process)
        if "refused" in found:
            raise Refusal(Refused(code="invalid_input", **found["refused"]))
        return _Found(name=Path(found["folder"]).name if found["folder"] else None)

    async def _ask(self, question: dict[str, Any], bound: _Bound | None = None) -> dict[str, Any]:
        # What was asked is read to its end, also where nobody waits for it any more: the next answer follows on it.
        task = asyncio.create_task(self._in_turn(question, bound or self._templates))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, question: dict[str, Any], bound: _Bound) -> dict[str, Any]:
        async with self._turn:
            try:
                return await self._bounded(question, bound.seconds)
            except TimeoutError:
                await self._end()
                raise Refusal(
                    Refused(
                        code="invalid_input",
                        message=bound.message.format(bound.seconds),
                        hint=bound.hint,
                        field=bound.field,
                    )
                ) from None
            except (asyncio.IncompleteReadError, OSError) as error:
                await self._end()
                _log.warning("the process that writes prompts ended: %r", error)
                raise Refusal(
                    Refused(
                        code="failed",
                        message="The process that writes prompts ended.",
                        hint="Ask again.",
                        retry_after=1,
                    )
                ) from error

    async def _bounded(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Ask the process within its time; of a processor, since a busy machine is no template's fault.

        Raises:
            TimeoutError: It took more.
        """
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tunesmith_serve.prompt_process", stdin=PIPE, stdout=PIPE
            )
        process = self._process
        began, used = time.monotonic(), _used(process)
        task = asyncio.create_task(self._exchange(process, question))
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                took = time.monotonic() - began
                if _used(process) - used > seconds or took > seconds * _WALL:
                    raise TimeoutError
            return task.result()
        finally:
            task.cancel()

    async def _exchange(self, process: Process, question: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        data = json.dumps(question).encode()
        process.stdin.write(LENGTH.pack(len(data)) + data)
        await process.stdin.drain()
        head = await process.stdout.readexactly(LENGTH.size)
        found: dict[str, Any] = json.loads(await process.stdout.readexactly(LENGTH.unpack(head)[0]))
        return found

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            await process.wait()


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


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _used(process: Process) -> float:
    """Seconds of a processor that a process has taken."""
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.Error:  # it has ended: whoever reads its answer sees that
        return 0.0
    return float(times.user + times.system)


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

"""The process that holds a model: reads questions from its input, writes tokens to its output, one JSON object a line.

Started by `child`, and never by hand: `python -m tunesmith_serve.llama_cpp.process SETTINGS`. It ends when its input
does, and when its parent dies. Answers with one adapter are computed together, a token each at a time; prompts alone, a
chunk at a time, so that what is remembered of a prompt never depends on what was asked beside it.
"""

import collections
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

from tunesmith_jobs.models.llama_cpp import CHUNK, Fed, Interrupted, Model, Unsupported
from tunesmith_serve.constraint import Constraints, Grammar, Stuck
from tunesmith_serve.llama_cpp.slots import Question, Slot, choose_slot
from tunesmith_serve.sampling import Draw, NoNumber, Token

_SET_PARENT_DEATH_SIGNAL = 1
_TOKENS_A_TURN = 4
"""Where answers with several adapters take turns: changing the adapter costs as much as half a token."""
_TOKENS_OF_A_SLOT = 48
"""After so many an answer gives its slot to one that waits, and waits itself; what is remembered of it is then read
anew, in large chunks. A longer one keeps its slot for longer: so reading costs a small part of the answers' time."""
_PART_OF_A_SLOT = 4
_SLOW_CHUNK = 0.2
"""Seconds of a chunk from which on it can be given up before its end."""


class Process:
    """Answers questions until its input ends.

    Args:
        settings: `file`, `slots`, `context_length`, `threads`.
        output: A file descriptor.
    """

    def __init__(self, settings: dict[str, Any], output: int) -> None:
        self._output = output
        self._context_length = int(settings["context_length"])
        self._model = Model(
            settings["file"], int(settings["slots"]), self._context_length, int(settings["threads"])
        )
        self._constraints = Constraints(self._model.words)
        self._slots = [Slot(number) for number in range(int(settings["slots"]))]
        self._waiting: collections.deque[Question] = collections.deque()
        self._adapters: set[str] = set()
        self._leaving: set[str] = set()
        """Adapters that go when no question uses them."""
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._begun = 0
        self._chunk_seconds = 0.0

    def run(self) -> None:
        """Answer until the input ends, which ends the process."""
        threading.Thread(target=self._read, daemon=True).start()
        self._say(ready=True)
        while True:
            self._obey()
            self._begin()
            self._turn()
            self._read_prompt()

    # --- commands

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            command = json.loads(line)
            if "cancel" in command:
                self._cancelled.add(command["cancel"])
            elif "ask" in command and command["ask"]["grammar"] is not None:
                self._hold(command["ask"])
            self._commands.put(command)
        os._exit(0)  # nobody is there any more; what is computed is for nobody

    def _hold(self, asked: dict[str, Any]) -> None:
        """Make what an answer is held to: reading a tokenizer for it takes a second, and others go on meanwhile."""
        try:
            asked["rule"] = self._constraints.made(Grammar(**asked["grammar"]), frozenset(asked["ends"]))
        except Stuck as error:
            asked["refused"] = str(error)

    def _say(self, **what: Any) -> None:
        line = memoryview(json.dumps(what, separators=(",", ":")).encode() + b"\n")
        while line:
            line = line[os.write(self._output, line) :]

    def _is_idle(self) -> bool:
        return not self._waiting and all(slot.question is None for slot in self._slots)

    def _obey(self) -> None:
        """Take the commands that have come; where there is nothing to compute, wait for one."""
        while True:
            try:
                command = self._commands.get(block=self._is_idle())
            except queue.Empty:
                break
            if "ask" in command:
                self._ask(command["ask"])
            elif "cancel" in command:
                self._cancel(command["cancel"])
            elif "adapter" in command:
                self._load(command["adapter"], command["file"])
            else:
                self._leaving.add(command["drop"])
            self._drop_unused()

    def _ask(self, asked: dict[str, Any]) -> None:
        if not all(0 <= token < self._model.words for token in asked["prompt"]):
            words = f"The prompt holds what is none of the model's {self._model.words} tokens."
            self._say(failed=asked["id"], error=words, is_prompt=True)
            return
        if "refused" in asked:
            self._say(failed=asked["id"], error=asked["refused"], is_prompt=True)
            return
        how = SimpleNamespace(**asked["sampling"])
        how.logit_bias = {int(token): bias for token, bias in how.logit_bias.items()}
        self._waiting.append(
            Question(
                id=asked["id"],
                adapter=asked["adapter"],
                prompt=asked["prompt"],
                draw=Draw(how, asked["prompt"], asked.get("rule")),
                ends=frozenset(asked["ends"]),
                most=how.max_new_tokens,
                is_fresh=how.seed is not None,
            )
        )

    def _cancel(self, number: int) -> None:
        for slot in self._slots:
            if slot.question is not None and slot.question.id == number:
                self._finish(slot)
        for question in [one for one in self._waiting if one.id == number]:
            self._waiting.remove(question)
            self._say(done=[number])
        self._cancelled.discard(number)

    def _load(self, name: str, file: str) -> None:
        if name in self._leaving:
            self._leaving.discard(name)
            self._say(dropped=name)  # for who waits for that
        error = None
        if name not in self._adapters:
            try:
                self._model.add_adapter(name, file)
                self._adapters.add(name)
            except Unsupported as found:
                error = str(found)
        self._say(adapter=name, error=error)

    def _drop_unused(self) -> None:
        used = {slot.question.adapter for slot in self._slots if slot.question is not None}
        used |= {question.adapter for question in self._waiting}
        for name in self._leaving - used:
            self._leaving.discard(name)
            if name in self._adapters:
                self._adapters.discard(name)
                self._model.drop_adapter(name)
            self._say(dropped=name)

    # --- answers

    def _begin(self) -> None:
        """Give waiting questions the free slots, in their order."""
        while self._waiting:
            found = choose_slot(self._slots, self._waiting[0])
            if found is None:
                return
            slot, count = found
            slot.question = self._waiting.popleft()
            if not slot.question.answered:
                slot.question.reused = count
            self._begun += 1
            slot.used, slot.adapter = self._begun, slot.question.adapter
            self._keep(slot, count)

    def _keep(self, slot: Slot, count: int) -> None:
        self._model.keep(slot.number, count)
        del slot.tokens[count:]

    def _read_prompt(self) -> None:
        """Compute a chunk of the prompt that has waited longest."""
        reading = [slot for slot in self._slots if slot.question is not None and slot.question.next is None]
        if not reading:
            return
        slot = min(reading, key=lambda slot: slot.used)
        question = slot.question
        assert question is not None
        begin = len(slot.tokens)
        tokens = question.prompt[begin : begin + CHUNK]
        last = begin + len(tokens) == len(question.prompt)
        fed = [
            Fed(slot.number, token, begin + place, last and place == len(tokens) - 1)
            for place, token in enumerate(tokens)
        ]
        began = time.monotonic()
        given_up = (lambda: question.id in self._cancelled) if self._chunk_seconds > _SLOW_CHUNK else None
        try:
            found = self._model.compute(question.adapter, fed, given_up)
        except Interrupted:
            self._keep(slot, 0)
            self._finish(slot)
            return
        except RuntimeError as error:
            self._fail([slot], error)
            return
        if len(tokens) == CHUNK:
            self._chunk_seconds = time.monotonic() - began
        slot.tokens += tokens
        if last:
            self._draw([(slot, found[0])])

    def _turn(self) -> None:
        """Compute the next tokens of all answers, those of one adapter after those of another."""
        names = dict.fromkeys(slot.question.adapter for slot in self._answering())
        is_reading = any(slot.question is not None and slot.question.next is None for slot in self._slots)
        count = 1 if len(names) == 1 or is_reading else _TOKENS_A_TURN
        for name in names:
            for _ in range(count):
                chosen = [slot for slot in self._answering() if slot.question.adapter == name]
                if not chosen or self._cancelled:
                    break
                self._step(name, chosen)

    def _answering(self) -> list[Any]:
        return [slot for slot in self._slots if slot.question is not None and slot.question.next is not None]

    def _step(self, name: str | None, chosen: list[Any]) -> None:
        fed = [Fed(slot.number, slot.question.next, len(slot.tokens), True) for slot in chosen]
        try:
            found = self._model.compute(name, fed)
        except RuntimeError as error:
            self._fail(chosen, error)
            return
        for slot in chosen:
            slot.tokens.append(slot.question.next)
            slot.question.shared |= len(chosen) > 1
        self._draw(list(zip(chosen, found, strict=True)))

    def _draw(self, found: list[tuple[Any, Any]]) -> None:
        """Draw a token of each answer and tell them all in one line."""
        tokens: list[list[Any]] = []
        ended: list[Slot] = []
        for slot, logits in found:
            question = slot.question
            try:
                drawn: Token = question.draw.next(logits)
            except (NoNumber, Stuck) as error:
                self._say(failed=question.id, error=str(error))
                self._finish(slot)
                continue
            question.answered += 1
            question.next = drawn.id
            tokens.append([question.id, *drawn, question.shared, question.reused])
            is_full = len(slot.tokens) + 1 >= self._context_length
            if drawn.id in question.ends or question.answered >= question.most or is_full:
                ended.append(slot)
        if tokens:
            self._say(tokens=tokens)
        for slot in ended:
            self._finish(slot)
        for slot, _ in found:
            self._give_way(slot)

    def _give_way(self, slot: Slot) -> None:
        """Let one that waits have the slot of an answer that had its turn, which then waits behind all others."""
        question = slot.question
        if question is None or question.next is None or not self._waiting:
            return
        question.turn += 1
        if question.turn < max(_TOKENS_OF_A_SLOT, len(slot.tokens) // _PART_OF_A_SLOT):
            return
        question.prompt = [*slot.tokens, question.next]
        question.next, question.turn = None, 0
        question.shared, question.is_fresh = True, False
        slot.question = None
        self._waiting.append(question)
        self._begin()

    def _fail(self, slots: list[Any], error: Exception) -> None:
        """Give up what could not be computed; others go on."""
        for slot in slots:
            self._say(failed=slot.question.id, error=str(error))
            self._keep(slot, 0)
            self._finish(slot)

    def _finish(self, slot: Slot) -> None:
        assert slot.question is not None
        self._say(done=[slot.question.id])
        slot.question = None
        self._drop_unused()


def _die_with(parent: int) -> None:
    """Be killed when the parent is, also by a signal that it cannot catch."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it was too late to be told
        os._exit(1)


def main() -> None:
    """Hold a model until the input ends."""
    settings = json.loads(sys.argv[1])
    _die_with(settings["parent"])
    output = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no line of ours
    try:
        process = Process(settings, output)
    except Unsupported as error:
        os.write(output, json.dumps({"error": str(error)}).encode() + b"\n")
        raise SystemExit(1) from error
    process.run()


if __name__ == "__main__":
    main()

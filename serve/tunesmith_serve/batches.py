"""Answers of one model computed together in transformers, a token each at a time; prompts alone, a piece at a time.

A question joins when its prompt is read and leaves when it is answered: keys and values of those that are shorter
stand behind empty places, which nobody looks at. What is remembered of a prompt never depends on what is asked beside
it, and an answer that was alone says so. Only models whose layers all keep keys and values as they come, and no other
state, are computed so. Knows torch and transformers; knows no text.
"""

import inspect
import queue
import threading
from typing import Any, Protocol

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from tunesmith_jobs.models.loading import UsedModel
from tunesmith_serve.engine import Drawn
from tunesmith_serve.sampling import Draw, Token
from tunesmith_serve.turns import Turns

PIECE = 512
"""Tokens of a prompt that are read at once: others go on between two pieces."""


class Question(Protocol):
    """What is answered."""

    prompt: list[int]
    ends: frozenset[int]
    most: int
    draw: Draw
    is_left: threading.Event

    def tell(self, drawn: Drawn) -> None:
        """A token was drawn."""
        ...

    def end(self, error: Exception | None) -> None:
        """It is answered, or cannot be."""
        ...


def is_plain(model: Any) -> bool:
    """Whether a model's answers may be computed together: it keeps keys and values, each place its own, and no more."""
    causal = causal_of(model)
    takes = inspect.signature(causal.forward).parameters
    if causal.config.is_encoder_decoder or getattr(causal, "_is_stateful", False):
        return False
    if not {"position_ids", "attention_mask", "past_key_values"} <= set(takes):
        return False
    try:
        layers = DynamicCache(config=causal.config).layers
    except Exception:  # a library that does not know them says so in many ways
        return False
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def causal_of(model: Any) -> Any:
    """The model below an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Row:
    """One answer.

    Args:
        question: What is answered.
        used: By which model.
    """

    def __init__(self, question: Question, used: UsedModel) -> None:
        self.question, self.used = question, used
        self.cache: Any = DynamicCache(config=causal_of(used.model).config)
        """Of its prompt, until it joins the others."""
        self.length = self.count = self.next = 0
        """Tokens that are computed; that are answered; and the one that was drawn last."""
        self.is_shared = self.is_over = False

    def take(self, logits: Any) -> None:
        """Draw the next token."""
        token: Token = self.question.draw.next(logits)
        self.next, self.count = token.id, self.count + 1
        self.question.tell(Drawn(*token, shared=self.is_shared))
        self.is_over = token.id in self.question.ends or self.count >= self.question.most


class Batches:
    """Computes answers in a thread of its own.

    Args:
        turns: Whose turn it is to compute.
        threads: How many may.
        most: So many answers are under way at once; others wait in their order.
    """

    def __init__(self, turns: Turns, threads: int, most: int) -> None:
        self._turns, self._threads, self._most = turns, threads, most
        self._coming: queue.SimpleQueue[_Row | None] = queue.SimpleQueue()
        self._reading: list[_Row] = []
        """Whose prompts are being read, or wait for that."""
        self._groups: dict[int, _Group] = {}
        """Answers under way, by their model."""
        self._thread: threading.Thread | None = None

    def ask(self, question: Question, used: UsedModel) -> None:
        """Answer a question; it hears of each token, and of the end."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
            self._thread.start()
        self._coming.put(_Row(question, used))

    def close(self) -> None:
        """End the thread, once nothing is asked any more."""
        if self._thread is not None:
            self._coming.put(None)
            self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while self._take_new():
            self._turns.take()
            try:
                with torch.no_grad():
                    self._step_all()
                    self._read_one()
            finally:
                self._turns.give_back()

    def _take_new(self) -> bool:
        """Take what has come, and wait for it where there is nothing to do; False when all is to end."""
        while True:
            is_idle = not self._reading and not self._groups
            try:
                row = self._coming.get(block=is_idle)
            except queue.Empty:
                return True
            if row is None:
                return False
            self._reading.append(row)

    def _read_one(self) -> None:
        """Read a piece of the prompt that came first, where there is room for one more answer."""
        for row in [one for one in self._reading if one.question.is_left.is_set()]:
            self._reading.remove(row)
            row.question.end(None)
        if not self._reading or sum(len(group.rows) for group in self._groups.values()) >= self._most:
            return
        row = self._reading[0]
        try:
            with row.used.autocast():
                is_read = self._read_piece(row)
        except Exception as error:
            self._reading.remove(row)
            row.question.end(error)
            return
        if is_read:
            self._reading.remove(row)
            if row.is_over:
                row.question.end(None)
            else:
                self._groups.setdefault(id(row.used), _Group(row.used)).join(row)

    def _read_piece(self, row: _Row) -> bool:
        """Compute the next tokens of a prompt; whether its answer has begun."""
        prompt = row.question.prompt
        ids = prompt[row.length : row.length + PIECE]
        end = row.length + len(ids)
        logits = _computed(
            row.used,
            row.cache,
            torch.tensor([ids], device=row.used.device),
            torch.ones(1, end, dtype=torch.long, device=row.used.device),
            torch.arange(row.length, end, device=row.used.device)[None],
        )
        row.length = end
        if end < len(prompt):
            return False
        row.take(logits[0])
        return True

    def _step_all(self) -> None:
        for key, group in list(self._groups.items()):
            try:
                with group.used.autocast():
                    group.step()
            except Exception as error:
                for row in group.rows:
                    row.question.end(error)
                group.rows.clear()
            if not group.rows:
                del self._groups[key]


class _Group:
    """Answers of one model, computed together.

    Args:
        used: The model.
    """

    def __init__(self, used: UsedModel) -> None:
        self.used = used
        self.rows: list[_Row] = []
        self._cache: Any = None
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=used.device)
        """Which places are somebody's, of shape (answers, places)."""

    def join(self, row: _Row) -> None:
        """Take an answer whose prompt was read."""
        cache, row.cache = row.cache, None
        self.rows.append(row)
        own = torch.ones(1, row.length, dtype=torch.long, device=self.used.device)
        if self._cache is None:
            self._cache, self._mask = cache, own
            return
        width = max(self._mask.shape[1], row.length)
        self._mask = torch.cat([_widened(self._mask, width, -1), _widened(own, width, -1)])
        for mine, new in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([_widened(mine.keys, width, -2), _widened(new.keys, width, -2)])
            mine.values = torch.cat([_widened(mine.values, width, -2), _widened(new.values, width, -2)])

    def step(self) -> None:
        """Compute the next token of each; who has ended leaves."""
        self._keep([place for place, row in enumerate(self.rows) if not row.question.is_left.is_set()])
        if not self.rows:
            return
        device = self.used.device
        self._mask = pad(self._mask, (0, 1), value=1)
        logits = _computed(
            self.used,
            self._cache,
            torch.tensor([[row.next] for row in self.rows], device=device),
            self._mask,
            torch.tensor([[row.length] for row in self.rows], device=device),
        )
        is_shared = len(self.rows) > 1
        kept = []
        for place, row in enumerate(self.rows):
            row.length += 1
            row.is_shared |= is_shared
            try:
                row.take(logits[place])
            except Exception as error:
                row.question.end(error)
                row.is_over = True
                continue
            if row.is_over:
                row.question.end(None)
            else:
                kept.append(place)
        self._keep(kept, is_told=True)

    def _keep(self, places: list[int], *, is_told: bool = False) -> None:
        """Let all leave but some."""
        if len(places) == len(self.rows):
            return
        for place, row in enumerate(self.rows):
            if place not in places and not is_told:
                row.question.end(None)
        self.rows = [self.rows[place] for place in places]
        if not places:
            self._cache = None
            return
        self._mask = self._mask[places]
        begin = int(self._mask.any(0).int().argmax())
        self._mask = self._mask[:, begin:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[places, :, begin:].contiguous()
            layer.values = layer.values[places, :, begin:].contiguous()


def _widened(values: Any, width: int, axis: int) -> Any:
    """The same with empty places before it, up to so many along an axis from the end."""
    before = [0, 0] * (-axis - 1) + [width - values.shape[axis], 0]
    return pad(values, before)


def _computed(used: UsedModel, cache: Any, ids: Any, mask: Any, positions: Any) -> Any:
    """The logits of each row's last token, of shape (rows, words), as numpy; the cache grows."""
    more = {"logits_to_keep": 1} if _keeps_logits(causal_of(used.model)) else {}
    found = used.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        **more,
    )
    return found.logits[:, -1].float().cpu().numpy()


def _keeps_logits(causal: Any) -> bool:
    return "logits_to_keep" in inspect.signature(causal.forward).parameters

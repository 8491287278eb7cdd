"""Which tokens of which sequences the next pass computes, until every sequence is finished.

First the next token of each answer that is being generated; then prompts, as far as the tile has room; what room is
left is given to drafts, and a larger tile is taken where so many of them hold that it pays. Finished sequences leave at
once. What is begun alike is computed once: a sequence takes the keys and values of the longest beginning that another
one has in the pool. Knows tiles and the pool; knows nothing of models.
"""

from collections.abc import Sequence

import torch

from tunesmith_jobs.evaluate.engine.alone import summed_loss
from tunesmith_jobs.evaluate.engine.attention import Segment
from tunesmith_jobs.evaluate.engine.pool import Pool, rounded
from tunesmith_jobs.evaluate.engine.sampling import Draw, Made
from tunesmith_jobs.evaluate.engine.tiles import Tiles

_POOL_BYTES = 3 * 2**26
"""Of keys and values, where the longest sequence needs no more."""
_LEAST_SHARED = 8
"""Tokens that must be alike to be copied."""
_READING = 40
"""How many tokens' computing a pass costs however few it has: all weights are read once. Seen on processors of two
makes; where it is more, larger tiles would pay even more."""


class Row:
    """Tokens that are computed one after the other.

    Args:
        tokens: Those that are known.
        length: How many there can be.
    """

    def __init__(self, tokens: Sequence[int], length: int) -> None:
        self.tokens = list(tokens)
        self.length = length
        self.done = 0
        """Tokens of which keys and values are in the pool."""
        self.begin = 0
        self.is_finished = False

    def next(self) -> list[int]:
        """The tokens that are known and not computed."""
        return self.tokens[self.done :]

    def guesses(self) -> list[int]:
        """Tokens that may follow."""
        return []

    @property
    def wanted_from(self) -> int:
        """The first position at which logits are wanted."""
        raise NotImplementedError

    def take(self, tokens: Sequence[int], logits: torch.Tensor) -> None:
        """Go on by what was computed.

        Args:
            tokens: That were computed.
            logits: At the last of them.
        """
        raise NotImplementedError


class AnswerRow(Row):
    """A prompt and its answer."""

    def __init__(
        self,
        prompt: Sequence[int],
        draw: Draw,
        most: int,
        stops: frozenset[int],
        draft: Sequence[int] | None,
    ) -> None:
        super().__init__(prompt, len(prompt) + most)
        self._prompt, self._draw, self._most, self._stops = len(prompt), draw, most, stops
        self._draft = list(draft or ())
        self._at: int | None = 0
        """Where in the draft the answer is; None where it is nowhere."""
        self.ended = False
        self.is_finished = most == 0

    @property
    def made(self) -> Made:
        """The answer."""
        return Made(self.tokens[self._prompt :], self.ended)

    def guesses(self) -> list[int]:
        """See `Row`. Never the last token: nothing follows it."""
        if self._at is None:
            return []
        left = self.length - len(self.tokens) - 1
        return self._draft[self._at : self._at + max(left, 0)]

    @property
    def wanted_from(self) -> int:
        """See `Row`."""
        return max(self.done, self._prompt - 1)

    def take(self, tokens: Sequence[int], logits: torch.Tensor) -> None:
        """See `Row`."""
        begin, end = self.done, self.done + len(tokens)
        self.done = end
        greedy = logits.argmax(-1).tolist() if self._draw.is_plain else None
        for number, position in enumerate(range(end - len(logits), end)):
            self.done = position + 1
            answer = self.tokens[self._prompt :]
            token = greedy[number] if greedy is not None else self._draw.next(logits[number], answer)
            if token in self._stops:
                self.ended = self.is_finished = True
                return
            self.tokens.append(token)
            self._follow(token)
            if len(answer) + 1 == self._most:
                self.is_finished = True
                return
            if position + 1 < end and tokens[position + 1 - begin] != token:
                return  # the rest of the draft is wrong

    def _follow(self, token: int) -> None:
        """Find the answer's place in its draft again."""
        if self._at is not None and self._at < len(self._draft) and self._draft[self._at] == token:
            self._at += 1
            return
        # It went on otherwise: where its last two tokens stand, the draft may fit again.
        pair = self.tokens[-2:]
        begin, last = self._at or 0, len(self._draft) - 2
        self._at = next((at + 2 for at in range(begin, last) if self._draft[at : at + 2] == pair), None)


class PairRow(Row):
    """A prompt and an answer that is given, of which the likelihood is measured."""

    def __init__(self, first: Sequence[int], second: Sequence[int]) -> None:
        super().__init__([*first, *second][:-1], len(first) + len(second))
        self._goals = [*first, *second]
        self._from = max(len(first), 1) - 1
        self.loss = 0.0
        self.is_finished = len(self._goals) <= max(len(first), 1)

    @property
    def wanted_from(self) -> int:
        """See `Row`."""
        return max(self.done, self._from)

    def take(self, tokens: Sequence[int], logits: torch.Tensor) -> None:
        """See `Row`."""
        self.done += len(tokens)
        if len(logits):
            goals = self._goals[self.done - len(logits) + 1 : self.done + 1]
            # One by one: the order in which it is added up is the sequence's own.
            for row, goal in zip(logits, goals, strict=True):
                self.loss += summed_loss(row[None], torch.tensor([goal]))
        self.is_finished = self.done == len(self.tokens)


class Drafting:
    """How well drafts hold: of those that were looked at, how many."""

    def __init__(self) -> None:
        self._held, self._broke = 4.0, 1.0  # until something was seen

    def saw(self, guesses: int, held: int) -> None:
        """Count the guesses of one sequence, of which the first so many held; what comes after a wrong one is void."""
        self._held += held
        self._broke += held < guesses

    def expected(self, guesses: int) -> float:
        """How many of so many guesses of one sequence will hold."""
        rate = self._held / (self._held + self._broke)
        return rate * (1 - rate**guesses) / (1 - rate)


def run(tiles: Tiles, given: Sequence[Row], most: int) -> None:
    """Compute sequences until each is finished.

    Args:
        tiles: Of the model.
        given: The sequences.
        most: How many are in the pool at once.
    """
    # Long ones first: what they leave behind has room for those that follow.
    waiting = sorted((one for one in given if not one.is_finished), key=lambda one: -one.length)
    if not waiting:
        return
    longest = rounded(waiting[0].length)
    places = max(longest, _POOL_BYTES // max(tiles.shapes.bytes_per_token, 1) // longest * longest)
    pool = Pool(min(places, sum(rounded(one.length) for one in waiting)))
    live: list[Row] = []
    drafting = Drafting()
    with tiles.ready():
        while waiting or live:
            chosen = _with_guesses(_choose(tiles, live, waiting, pool, most), tiles.shapes.sizes, drafting)
            segments = []
            for one, tokens in chosen:
                end = one.done + len(tokens)
                wanted = max(0, end - one.wanted_from)
                segments.append(Segment(one.begin, one.done, tokens, wanted))
            for (one, tokens), logits in zip(chosen, tiles.compute(segments, pool), strict=True):
                begin, guesses = one.done, max(0, one.done + len(tokens) - len(one.tokens))
                one.take(tokens, logits)
                if guesses:
                    drafting.saw(guesses, one.done - begin - (len(tokens) - guesses))
            for one in live:
                if one.is_finished:
                    pool.give_back(one.begin, one.length)
            live = [one for one in live if not one.is_finished]


def _choose(
    tiles: Tiles, live: list[Row], waiting: list[Row], pool: Pool, most: int
) -> list[tuple[Row, list[int]]]:
    """The sequences of the next pass, each with its tokens; those that begin go from `waiting` to `live`."""
    room = tiles.room
    chosen: list[tuple[Row, list[int]]] = []
    # The shortest rests first: the next tokens of answers before prompts.
    for one in sorted(live, key=lambda one: len(one.tokens) - one.done):
        if room:
            chosen.append((one, one.next()[:room]))
            room -= len(chosen[-1][1])
    while room and waiting and len(live) < most:
        begin = pool.take(waiting[0].length)
        if begin is None:
            break
        one = waiting.pop(0)
        one.begin = begin
        _share(one, live, pool)
        live.append(one)
        chosen.append((one, one.next()[:room]))
        room -= len(chosen[-1][1])
    return chosen


def _share(one: Row, live: list[Row], pool: Pool) -> None:
    """Take what another sequence that begins alike has computed; its last token is always its own."""
    longest, source = 0, None
    for other in live:
        count = min(other.done, len(one.tokens) - 1)
        alike = next((i for i in range(count) if one.tokens[i] != other.tokens[i]), count)
        if alike > longest:
            longest, source = alike, other
    # Logits are wanted from some position on: what they are made of is computed anew.
    longest = min(longest, one.wanted_from)
    if source is not None and longest >= _LEAST_SHARED:
        pool.copy(source.begin, one.begin, longest)
        one.done = longest


def _with_guesses(
    chosen: list[tuple[Row, list[int]]], sizes: Sequence[int], drafting: Drafting
) -> list[tuple[Row, list[int]]]:
    """Add drafts: those that fill the tile, or one of a size that computes most tokens of use for what it costs."""
    guesses = [one.guesses() if one.done + len(tokens) == len(one.tokens) else [] for one, tokens in chosen]
    known = sum(len(tokens) for _, tokens in chosen)
    best, most = [0] * len(chosen), 0.0
    for size in sizes:
        if size < known:
            continue
        taken = _shared_out(size - known, [len(guess) for guess in guesses])
        use = (known + sum(map(drafting.expected, taken))) / (size + _READING)
        if use > most:
            best, most = taken, use
        if known + sum(taken) < size:
            break  # there are no more
    return [
        (one, tokens + guess[:count])
        for (one, tokens), guess, count in zip(chosen, guesses, best, strict=True)
    ]


def _shared_out(room: int, wanted: Sequence[int]) -> list[int]:
    """Give each the same of a room, as far as it wants it."""
    taken = [0] * len(wanted)
    while room and (left := [place for place, count in enumerate(wanted) if taken[place] < count]):
        for place in left[:room]:
            taken[place] += 1
        room -= min(room, len(left))
    return taken

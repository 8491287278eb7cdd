"""Answers rated by a judging model: asked a few at a time, kept by content, given up where the judge is away.

The judge is somebody else's program: it costs its score when it fails, and never the evaluation. Knows results, the
cache and the judge; knows nothing of models or of Ray.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import InvalidInput, Unavailable
from tunesmith.evaluation.results import Answer, CandidateResult, Sample
from tunesmith.evaluation.scores.judge import Judge, JudgeSettings, Verdict, Winner
from tunesmith.evaluation.scores.scoring import NO_REFERENCE
from tunesmith_jobs.activities import Doing
from tunesmith_jobs.evaluate.answers import Kept, Line

AT_A_TIME = 4
"""Answers that are judged at once."""
_AWAY = 3
"""After so many answers in a row without a verdict the judge counts as away, and no more are asked."""
_LOOK_SECONDS = 0.2


class _Texts(NamedTuple):
    """What decides a verdict."""

    question: str
    answer: str
    reference: str


class KeptVerdict(Line):
    """A verdict as it is kept."""

    winner: Winner
    is_swayed: bool


class Judged(NamedTuple):
    """What came of it."""

    results: list[CandidateResult]
    """With the score `judge`, or the reason why an answer has none."""
    rated: int
    """Answers that have a verdict."""
    unrated: int
    """Answers that should have one."""
    swayed: int
    """Verdicts that turned with the order of the answers, and are ties for that."""
    problem: str
    """Why there are unrated ones."""
    seconds: float | None = None
    """What passed for a verdict, of those that were asked for now; None where none was."""


class Judging:
    """Rates every answer against its sample's reference: 1 better, 0.5 as good, 0 worse.

    Args:
        settings: Which judge.
        folder: Where verdicts are kept.
        results: The candidates with their answers.
        samples: What was asked.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        folder: Path,
        results: Sequence[CandidateResult],
        samples: Sequence[Sample],
    ) -> None:
        self._settings = settings
        self._results = results
        self._samples = {sample.id: sample for sample in samples}
        self._kept = Kept(folder, f"verdicts-{settings.digest}", KeptVerdict)
        self._reasons: dict[str, str] = {}
        self._in_a_row = 0
        self._problem = ""
        self._seconds: float | None = None
        self._wanted: dict[str, _Texts] = {}
        for result in results:
            for answer in result.answers:
                if texts := self._texts(answer):
                    self._wanted[settings.key_of(*texts)] = texts

    @property
    def total(self) -> int:
        """How many verdicts there shall be: the same answer of two candidates has one."""
        return len(self._wanted)

    def run(self, check: Callable[[], None], doing: Doing) -> Judged:
        """Have what is missing rated.

        Args:
            check: Raises where the work is not wanted any more.
            doing: Told how many verdicts there are.

        Raises:
            Stopped: As `check` does; verdicts that are there are kept.
        """
        missing = {key: texts for key, texts in self._wanted.items() if key not in self._kept.known}
        doing.done = self.total - len(missing)
        if missing:
            began, known = time.monotonic(), len(self._kept.known)
            try:
                asyncio.run(self._ask(missing, check, doing))
            except InvalidInput as error:
                self._problem = error.message
            if asked := len(self._kept.known) - known:
                self._seconds = (time.monotonic() - began) / asked
        return self._judged()

    def _texts(self, answer: Answer) -> _Texts | None:
        """What the judge is asked of an answer; None where its sample expects none."""
        sample = self._samples[answer.sample_id]
        if not sample.reference.strip():
            return None
        return _Texts(question_of(sample), answer.text, sample.reference)

    async def _ask(self, missing: Mapping[str, _Texts], check: Callable[[], None], doing: Doing) -> None:
        left = iter(missing.items())
        async with Judge(self._settings) as judge:
            tasks = {
                asyncio.create_task(self._take(judge, left, doing))
                for _ in range(min(AT_A_TIME, len(missing)))
            }
            try:
                waiting = tasks
                while waiting:
                    check()
                    _, waiting = await asyncio.wait(waiting, timeout=_LOOK_SECONDS)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    async def _take(self, judge: Judge, left: Iterator[tuple[str, _Texts]], doing: Doing) -> None:
        """Have one answer after the other rated, until none is left or the judge is away."""
        for key, texts in left:
            try:
                found = await judge.compare(*texts)
            except Unavailable as error:
                self._reasons[key] = self._problem = error.message
                self._in_a_row += 1
            else:
                self._in_a_row = 0
                if isinstance(found, str):
                    self._reasons[key] = found
                else:
                    self._kept.add([KeptVerdict(key=key, winner=found.winner, is_swayed=found.is_swayed)])
            if self._in_a_row >= _AWAY:
                return
            doing.advance()

    def _judged(self) -> Judged:
        rated = unrated = swayed = 0
        found = []
        for result in self._results:
            answers = []
            for answer in result.answers:
                scores, skipped = dict(answer.scores), dict(answer.skipped)
                texts = self._texts(answer)
                key = self._settings.key_of(*texts) if texts else ""
                if not texts:
                    skipped["judge"] = NO_REFERENCE
                elif kept := self._kept.known.get(key):
                    scores["judge"] = Verdict(kept.winner, is_swayed=kept.is_swayed).score
                    rated += 1
                    swayed += kept.is_swayed
                else:
                    skipped["judge"] = self._problem = self._reasons.get(key, self._problem)
                    unrated += 1
                answers.append(answer.model_copy(update={"scores": scores, "skipped": skipped}))
            found.append(result.model_copy(update={"answers": tuple(answers)}))
        return Judged(found, rated, unrated, swayed, self._problem if unrated else "", self._seconds)


def question_of(sample: Sample) -> str:
    """What a sample asks, as one text; who said what where that is not the user alone."""
    if len(sample.turns) == 1:
        return sample.turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in sample.turns)

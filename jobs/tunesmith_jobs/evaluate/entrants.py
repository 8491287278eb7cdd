"""A candidate while it is evaluated: what it is asked, what it has answered, which samples its training rows hold.

Knows the cache of answers and the training's rows; computes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith.artifacts import CHECKPOINTS
from tunesmith.evaluation.contamination import seen_in
from tunesmith.evaluation.document import CandidateDocument
from tunesmith.evaluation.results import Answer, CandidateResult, Sample
from tunesmith.events import Scored
from tunesmith.rows.order import ORDER_FILE, RowOrder
from tunesmith.spec.evaluation import EvaluateSpec
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path, open_storage
from tunesmith_jobs.evaluate.answers import Answers, Known
from tunesmith_jobs.evaluate.identity import weights_sha256
from tunesmith_jobs.evaluate.planning import Asking, wanted_of

_KNOWN_BY_HEART = ("exact", "prompt")
"""How a sample stands in training rows so that its answer proves nothing. A long shared span may be a common phrase."""

_ALONE = 16
"""So many answers are computed again at batch 1."""
_MADE_BY = ("1", *(metadata.version(name) for name in ("torch", "transformers", "peft")))
"""What computes answers: ours rises when the same question would get another one."""


class Entrant:
    """One candidate.

    Args:
        document: What loads it.
        answers: What it has answered before.
        wanted: What it is asked, in the order of the samples.
        alone: Some of it, to be asked again each by itself; nothing where a batch changes no answer.
    """

    def __init__(
        self,
        document: CandidateDocument,
        answers: Answers,
        wanted: Sequence[Asking],
        alone: Sequence[Asking] = (),
    ) -> None:
        self.document = document
        self.answers = answers
        self.wanted = wanted
        self.alone = alone
        self._keys = {(one.sample.id, one.repeat): one.key for one in wanted}
        self._missing = {one.key for one in wanted if one.key not in answers.known}
        self.cached = self.answered
        """Answers that were known before."""
        self.seen: tuple[str, ...] = ()
        """Ids of the samples that its training rows hold, as far as they are known by heart."""
        self.seconds = 0.0
        """What its answers took."""
        self.result: CandidateResult | None = None

    @property
    def answered(self) -> int:
        """How many answers are there."""
        return len(self.wanted) - len(self._missing)

    @property
    def is_whole(self) -> bool:
        """Whether all are."""
        return not self._missing

    def add(self, answers: Sequence[Known]) -> None:
        """Take answers, and keep them."""
        self.answers.add(answers)
        self._missing -= {one.key for one in answers}

    def answer_to(self, asking: Asking) -> Known | None:
        """Its answer to the question that another candidate is asked; None where there is none yet."""
        return self.answers.known.get(self._keys.get((asking.sample.id, asking.repeat), ""))

    def heard(self, askings: Sequence[Asking] | None = None) -> list[Answer]:
        """Its answers, without scores: all that are wanted, or those to some questions, as far as they are there."""
        found = []
        for one in self.wanted if askings is None else askings:
            known = self.answers.known.get(one.key)
            if known is None:
                assert askings is not None, "one that is whole has all that is wanted"
                continue
            found.append(
                Answer(
                    sample_id=one.sample.id,
                    repeat=one.repeat,
                    text=known.text,
                    tokens=len(known.tokens) + known.ended,
                    finish_reason="stop" if known.ended else "length",
                    nll=known.nll,
                    reference_tokens=known.reference_tokens,
                )
            )
        return found

    def standing(self) -> Scored:
        """How far it is, and how it does so far."""
        candidate = self.document.candidate
        return Scored(
            candidate=candidate.key,
            label=candidate.label,
            step=candidate.step,
            answered=self.answered,
            total=len(self.wanted),
            cached=self.cached,
            means=self.result.figures if self.result else {},
        )


def mark_seen(
    entrants: Sequence[Entrant], samples: Sequence[Sample], check: Callable[[], None]
) -> tuple[int, int]:
    """Find the samples that stand in the candidates' training rows; whose question does, counts for nothing.

    Args:
        entrants: The candidates; `seen` is set.
        samples: What is asked.
        check: Raises where the work is not wanted any more.

    Returns:
        How many samples stand there by their question, and how many others by a long part of their answer.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entrant in entrants:
        document = entrant.document
        path = document.train_path
        if path is None or not Path(path).is_file():
            continue
        artifacts = document.candidate.uri.partition(f"/{CHECKPOINTS}/")[0]
        if (path, artifacts) not in found:
            check()
            spec = TrainSpec.stored(document.training)
            grades = seen_in(samples, [Path(path)], spec=spec, only_rows=_trained_rows(artifacts))
            found[path, artifacts] = dict(grades)
        known = (one for one, grade in found[path, artifacts].items() if grade in _KNOWN_BY_HEART)
        entrant.seen = tuple(sorted(known))
    whole = {one for entrant in entrants for one in entrant.seen}
    every = {one for grades in found.values() for one in grades}
    return len(whole), len(every - whole)


def _trained_rows(artifacts: str) -> Sequence[int] | None:
    """The rows of its file that a training took; None where it does not say, or lies elsewhere: then all of them."""
    if local_path(artifacts) is None:
        return None
    data = open_storage(artifacts).read(ORDER_FILE)
    order = RowOrder.decode(data) if data is not None else None
    return None if order is None else sorted(set(order.numbers))


def enter(
    document: CandidateDocument,
    template: str,
    samples: Sequence[Sample],
    settings: Mapping[str, Any],
    spec: EvaluateSpec,
    folder: Path,
    *,
    is_exact: bool,
    use_gpu: bool,
) -> Entrant:
    """A candidate with all that it is asked, and what of that is known.

    Args:
        document: What loads it.
        template: What tells how its prompts are written.
        samples: What is asked.
        settings: How answers are made.
        spec: The evaluation's parameters.
        folder: Where answers are kept.
        is_exact: Whether an answer is the same in every batch.
        use_gpu: Whether it computes on a GPU.

    Raises:
        InvalidModel: Its weights are not what was saved, or are gone.
    """
    weights = weights_sha256(document)
    identity = ":".join((weights, template, "gpu" if use_gpu else "cpu", *_MADE_BY))
    # In less than 32 bits a batch's size is part of what rounds.
    batch = {} if is_exact else {"batch_size": spec.per_device_eval_batch_size}
    asked, alone = {**settings, **batch}, {**settings, "batch_size": 1}
    wanted = wanted_of(identity, asked, samples, spec.asked_times, spec.seed, draws=spec.draws)
    some = samples[:_ALONE] if batch and asked != alone else []
    again = wanted_of(identity, alone, some, 1, spec.seed, draws=spec.draws)
    own = document.model_copy(update={"candidate": document.candidate.model_copy(update={"sha256": weights})})
    return Entrant(own, Answers(folder, weights), wanted, again)

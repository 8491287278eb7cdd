"""What an evaluation has still to compute, as values: which candidate answers which samples, in which order.

A shard is one candidate and a few samples: so much is lost when a worker is lost, and no more. Candidate by candidate,
so that a whole model is loaded once; and each candidate's shards are the same samples as the others', so that what one
answered is the draft of what the next one may. Knows nothing of models or of Ray.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.evaluation.results import Sample

SHARD = 16
"""Answers in a shard."""
_SEED_BITS = 63


class Asking(NamedTuple):
    """One answer that is wanted."""

    sample: Sample
    repeat: int
    seed: int
    """Of the generator that draws it, and nothing else."""
    key: str
    """Tells the answer by all that decides it."""


class Shard(NamedTuple):
    """What one Ray task computes."""

    candidate: int
    number: int
    """Which part of the samples: the same number is the same samples of every candidate."""
    wanted: tuple[Asking, ...]


def seed_of(seed: int, sample_id: str, repeat: int) -> int:
    """The seed of one answer: the same whatever else is asked."""
    digest = hashlib.sha256(f"{seed}:{sample_id}:{repeat}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _SEED_BITS)


def key_of(identity: str, settings: Mapping[str, Any], sample: Sample, seed: int | None) -> str:
    """What tells an answer: the weights, how it is made, the sample, and the seed where it is drawn."""
    told = [
        identity,
        dict(sorted(settings.items())),
        [turn.model_dump() for turn in sample.turns],
        sample.reference,
    ]
    return hashlib.sha256(json.dumps([*told, seed], ensure_ascii=False).encode()).hexdigest()


def wanted_of(
    identity: str,
    settings: Mapping[str, Any],
    samples: Sequence[Sample],
    repeats: int,
    seed: int,
    *,
    draws: bool,
) -> list[Asking]:
    """Every answer that is wanted of a candidate, in the order of the samples.

    Args:
        identity: Of its weights, and of how its prompts are written.
        settings: How answers are made.
        samples: What is asked.
        repeats: How often each.
        seed: The evaluation's.
        draws: Whether chance decides; else the seed is no part of the key.
    """
    found = []
    for sample in samples:
        for repeat in range(repeats):
            own = seed_of(seed, sample.id, repeat)
            found.append(
                Asking(sample, repeat, own, key_of(identity, settings, sample, own if draws else None))
            )
    return found


def shards_of(wanted: Sequence[Sequence[Asking]], known: Mapping[str, Any], size: int = SHARD) -> list[Shard]:
    """What is still to be computed: candidate by candidate, without what is known.

    Args:
        wanted: Each candidate's answers, the same samples in the same order.
        known: Answers that were computed before, by their keys.
        size: Answers in a shard.
    """
    found = []
    for candidate, askings in enumerate(wanted):
        for number, begin in enumerate(range(0, len(askings), size)):
            missing = tuple(one for one in askings[begin : begin + size] if one.key not in known)
            if missing:
                found.append(Shard(candidate, number, missing))
    return found

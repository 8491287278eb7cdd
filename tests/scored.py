"""Candidates with given scores, for tests of what is concluded from them."""

from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.evaluation.results import Answer, Candidate, CandidateResult, Sample, Turn

EN = "The capital of France is Paris, and 2 million people live there."
ZH = "法国的首都是巴黎，有200万人口。"
LIST_EN, LIST_ZH = "Steps:\n- mix\n- bake\n- cool", "步骤：\n- 混合\n- 烘烤\n- 冷却"
OBJECT = '{"name": "Ada", "age": 36}'


def sample_ids(count: int) -> list[str]:
    return [f"{number:016x}" for number in range(count)]


def scored(
    key: str, values: Iterable[float | Sequence[float]], seen: Iterable[str] = (), **fields: Any
) -> CandidateResult:
    """A candidate with its composite on each sample; several numbers are repeats."""
    answers = []
    for number, value in enumerate(values):
        repeats = value if isinstance(value, Sequence) else [value]
        answers += [
            Answer(
                sample_id=f"{number:016x}",
                repeat=repeat,
                text="",
                tokens=1,
                finish_reason="stop",
                scores={"composite": float(one)},
            )
            for repeat, one in enumerate(repeats)
        ]
    step = int(key.rpartition("-")[2]) if "-" in key else 0
    candidate = Candidate(key=key, label=key, **{"step": step, "is_base": key == "base", **fields})
    return CandidateResult(candidate=candidate, answers=tuple(answers), seen=tuple(seen))


def sample(reference: str, **changes: Any) -> Sample:
    """A sample that expects an answer."""
    return Sample(
        id="0123456789abcdef", turns=(Turn(role="user", content="?"),), reference=reference, **changes
    )


def answer(text: str, **changes: Any) -> Answer:
    """An answer to that sample."""
    return Answer(sample_id="0123456789abcdef", text=text, tokens=3, **{"finish_reason": "stop"} | changes)


def result(key: str, *answers: Answer) -> CandidateResult:
    """A candidate with these answers."""
    return CandidateResult(candidate=Candidate(key=key, label=key), answers=answers)

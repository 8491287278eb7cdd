"""Scores that tell nothing apart, said with an example. Knows results; knows no formula."""

from collections.abc import Sequence

from tunesmith.errors import shortened
from tunesmith.evaluation.results import CandidateResult, Sample, Text
from tunesmith.evaluation.scores.info import INFO

_SHOWN = 160
_LEAST = 2


def degenerate(results: Sequence[CandidateResult], samples: Sequence[Sample] = ()) -> list[Text]:
    """A sentence for each score that has the same value for every answer of every candidate, with one such answer.

    Where all have the best value of a score that good answers share (nothing repeated, all ended), there is nothing to
    say.
    """
    found: dict[str, list[float]] = {}
    for result in results:
        for answer in result.answers:
            for name, value in answer.scores.items():
                found.setdefault(name, []).append(value)
    references = {sample.id: sample.reference for sample in samples}
    said = []
    for name, values in sorted(
        found.items(), key=lambda item: list(INFO).index(item[0]) if item[0] in INFO else 99
    ):
        info = INFO.get(name)
        if len(values) < _LEAST or max(values) - min(values) > 1e-12:
            continue
        if info and info.is_often_best and values[0] == info.best:
            continue
        answer = next(one for result in results for one in result.answers if name in one.scores)
        text = _shown(answer.text)
        expected = references.get(answer.sample_id)
        en, zh = (info.en, info.zh) if info else (name, name)
        told = f"{values[0]:.4g}"
        said.append(
            Text(
                en=f"{en} is {told} for all {len(values)} answers: it tells nothing apart. For example sample "
                f"{answer.sample_id}: {text}"
                + (f"; expected: {_shown(expected)}" if expected is not None else ""),
                zh=f"{zh}在全部 {len(values)} 个回答上都是 {told}，无法区分优劣。例如样本 {answer.sample_id}：{text}"
                + (f"；参考答案：{_shown(expected)}" if expected is not None else ""),
            )
        )
    return said


def _shown(text: str) -> str:
    return f"`{shortened(' '.join(text.split()), _SHOWN)}`"

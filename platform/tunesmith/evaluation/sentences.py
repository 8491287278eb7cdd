"""What a comparison found, as one honest sentence in English and in Chinese.

It names the figures that it rests on, says when a lead may be chance, and never more than the test has shown.
"""

from collections.abc import Sequence

from tunesmith.evaluation.results import COMPOSITE, CandidateResult, Comparison, Pair, Text
from tunesmith.evaluation.statistics import EQUAL, FEWEST


def number(value: float) -> str:
    """A figure as people read it: three places, fewer where it is large; two digits of what three places would hide.

    A checkpoint is not better by `0.000`: 0 is said of what is 0 but for rounding, without a minus.
    """
    size = abs(value)
    if size <= EQUAL:
        return "0.000"
    if size < 0.0005:
        return f"{value:.1g}"
    if size < 100:
        return f"{value:.3f}"
    return f"{value:.1f}" if size < 1e6 else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference: as `number`, with a plus above 0."""
    return f"+{number(value)}" if value > EQUAL else number(value)


def chance(p: float) -> str:
    """A p-value in a table: never 0, which no test says."""
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def range_of(low: float, high: float, language: str) -> str:
    """Two ends: `0.010 to 0.050`."""
    return f"{number(low)} {'至' if language == 'zh' else 'to'} {number(high)}"


def joined(*parts: Text | None) -> Text:
    """One sentence of several clauses."""
    said = [part for part in parts if part is not None]
    return Text(en="; ".join(part.en for part in said) + ".", zh="；".join(part.zh for part in said) + "。")


def of_samples(count: int) -> Text:
    """A number of samples."""
    return Text(en=f"{count} sample{'' if count == 1 else 's'}", zh=f"{count} 个样本")


def sentence(
    comparison: Comparison, results: Sequence[CandidateResult], best: str | None, base: str | None
) -> Text:
    """What may be said.

    Args:
        comparison: What was found, with what is recommended.
        results: The candidates, for their labels.
        best: The key of the checkpoint with the best mean.
        base: The base's key, where it was evaluated.
    """
    labels = {one.candidate.key: one.candidate.label or one.candidate.key for one in results}
    score = comparison.score
    absent = [labels[one.candidate.key] for one in results if one.candidate.key not in comparison.estimates]
    if comparison.samples < 2:
        return joined(_nothing(comparison))
    without = _without(absent, score) if absent else None
    if len(comparison.estimates) == 1:
        return joined(_alone(comparison, labels), without)
    if comparison.samples < FEWEST:
        return joined(_too_few(comparison), without)
    assert best is not None, "of two candidates one is no base"
    pairs = {(pair.candidate, pair.against): pair for pair in comparison.pairs}
    chosen = comparison.recommended
    if comparison.split != "validation":
        against = pairs.get((best, base or ""))
        return joined(_not_asked(comparison, best, against, labels), _smallest(comparison), without)
    if chosen is None:
        assert base is not None, "without a base something is always recommended"
        return joined(_none_better(pairs[best, base], labels), _smallest(comparison), without)
    head: Text = _best_of(comparison, chosen, labels)
    if base is not None:
        head = _better_than_base(pairs[chosen, base], labels)
    if chosen != best:
        lead: Text | None = _noise(pairs[best, chosen], labels)
    else:
        earlier = [pair for pair in comparison.pairs if pair.candidate == best and pair.against != base]
        lead = _lead(min(earlier, key=lambda pair: pair.difference), labels) if earlier else None
    return joined(head, lead, _smallest(comparison), without)


def _figures(pair: Pair, language: str) -> str:
    interval, p = range_of(pair.low, pair.high, language), f"{pair.p_adjusted:.2g}"
    if language == "zh":
        return f"{number(pair.difference)}（95% 区间 {interval}，{pair.samples} 个样本，Holm 校正后 p = {p}）"
    return f"{number(pair.difference)} (95 % interval {interval}, {pair.samples} samples, p = {p} by Holm)"


def _score(score: str) -> Text:
    return Text(en="composite", zh="综合分") if score == COMPOSITE else Text(en=f"`{score}`", zh=f"`{score}`")


def _nothing(comparison: Comparison) -> Text:
    score, samples = _score(comparison.score), of_samples(comparison.samples)
    seen, lacking = comparison.seen, comparison.lacking
    return Text(
        en=f"Nothing can be compared: {samples.en} of which every candidate has a {score.en} and none was trained on "
        f"(left out: {seen} seen in training, {lacking} without a score)",
        zh=f"无法比较：每个候选都有{score.zh}且均未在训练中见过的样本有 {comparison.samples} 个"
        f"（排除：训练中见过 {seen} 个，缺少分数 {lacking} 个）",
    )


def _too_few(comparison: Comparison) -> Text:
    count = comparison.samples
    return Text(
        en=f"Nothing is recommended: {count} samples can show no difference, whatever it is; "
        f"at least {FEWEST} are needed, and some 128 for a difference of 0.1",
        zh=f"不作推荐：{count} 个样本无法证明任何差异；至少需要 {FEWEST} 个样本，要发现 0.1 的差异约需 128 个",
    )


def _alone(comparison: Comparison, labels: dict[str, str]) -> Text:
    (key, found), score = next(iter(comparison.estimates.items())), _score(comparison.score)
    figures = f"{number(found.mean)} (95 % interval {range_of(found.low, found.high, 'en')}"
    zh = f"{number(found.mean)}（95% 区间 {range_of(found.low, found.high, 'zh')}"
    return Text(
        en=f"{labels[key]} has a mean {score.en} of {figures}, {comparison.samples} samples); "
        "nothing is recommended, since there is nothing to compare it with",
        zh=f"{labels[key]} 的平均{score.zh}为 {zh}，{comparison.samples} 个样本）；没有可比较的对象，因此不作推荐",
    )


def _not_asked(comparison: Comparison, best: str, against: Pair | None, labels: dict[str, str]) -> Text:
    name, mean = labels[best], number(comparison.estimates[best].mean)
    score, split = _score(comparison.score), comparison.split
    en = f" and a difference of {_figures(against, 'en')} to the base" if against else ""
    zh = f"，与基础模型之差为 {_figures(against, 'zh')}" if against else ""
    return Text(
        en=f"Nothing is recommended, for these samples are of `{split}` and only those of `validation` decide: "
        f"the best, {name}, has a mean {score.en} of {mean}{en}",
        zh=f"不作推荐：这些样本属于 `{split}`，只有 `validation` 的样本可作依据；"
        f"最好的 {name} 的平均{score.zh}为 {mean}{zh}",
    )


def _none_better(pair: Pair, labels: dict[str, str]) -> Text:
    name = labels[pair.candidate]
    if pair.verdict == "equal":
        return Text(
            en=f"No checkpoint is better than the base: the best, {name}, scores the same on each of the "
            f"{pair.samples} samples",
            zh=f"没有检查点优于基础模型：最好的 {name} 在全部 {pair.samples} 个样本上得分相同",
        )
    if pair.verdict == "worse":
        return Text(
            en=f"No checkpoint is better than the base: even the best, {name}, is worse by "
            f"{_figures(_turned(pair), 'en')}",
            zh=f"没有检查点优于基础模型：即使最好的 {name} 也比它差 {_figures(_turned(pair), 'zh')}",
        )
    return Text(
        en=f"No checkpoint is shown to be better than the base: the difference of the best, {name}, may be chance: "
        f"{_figures(pair, 'en')}",
        zh=f"没有检查点被证明优于基础模型：最好的 {name} 与它的差异可能只是偶然：{_figures(pair, 'zh')}",
    )


def _turned(pair: Pair) -> Pair:
    return pair.model_copy(update={"difference": -pair.difference, "low": -pair.high, "high": -pair.low})


def _better_than_base(pair: Pair, labels: dict[str, str]) -> Text:
    name = labels[pair.candidate]
    return Text(
        en=f"{name} is recommended: it is shown to be better than the base by {_figures(pair, 'en')}",
        zh=f"推荐 {name}：它被证明优于基础模型，差异为 {_figures(pair, 'zh')}",
    )


def _best_of(comparison: Comparison, chosen: str, labels: dict[str, str]) -> Text:
    score, found = _score(comparison.score), comparison.estimates[chosen]
    name, mean = labels[chosen], number(found.mean)
    en, zh = range_of(found.low, found.high, "en"), range_of(found.low, found.high, "zh")
    return Text(
        en=f"{name} is recommended: its mean {score.en} is {mean} (95 % interval {en}, {comparison.samples} samples), "
        "and whether that is better than the base was not asked",
        zh=f"推荐 {name}：其平均{score.zh}为 {mean}（95% 区间 {zh}，{comparison.samples} 个样本），未与基础模型比较",
    )


def _noise(pair: Pair, labels: dict[str, str]) -> Text:
    best, chosen = labels[pair.candidate], labels[pair.against]
    if pair.verdict == "equal":
        return Text(
            en=f"{best} scores the same on every sample, and the earlier one is preferred",
            zh=f"{best} 在每个样本上得分相同，因此取较早的一个",
        )
    return Text(
        en=f"{best} has the best mean, but its lead over {chosen} may be chance, and the earlier one is preferred: "
        f"{_figures(pair, 'en')}",
        zh=f"{best} 的均值最高，但它对 {chosen} 的领先可能只是偶然，因此取较早的一个：{_figures(pair, 'zh')}",
    )


def _lead(pair: Pair, labels: dict[str, str]) -> Text:
    name = labels[pair.against]
    if pair.verdict != "better":  # no earlier one that might be taken: of these the earliest is
        return Text(
            en=f"it has the best mean, though its lead over {name} may be chance: {_figures(pair, 'en')}",
            zh=f"它的均值最高，但对 {name} 的领先可能只是偶然：{_figures(pair, 'zh')}",
        )
    return Text(
        en=f"it has the best mean, and is shown to be better than the next, {name}, by {_figures(pair, 'en')}",
        zh=f"它的均值最高，且被证明优于次优的 {name}：{_figures(pair, 'zh')}",
    )


def _smallest(comparison: Comparison) -> Text | None:
    if comparison.smallest_difference is None:
        return None
    least = number(comparison.smallest_difference)
    return Text(
        en=f"with {comparison.samples} samples a difference below {least} is often not found",
        zh=f"{comparison.samples} 个样本往往发现不了小于 {least} 的差异",
    )


def _without(absent: Sequence[str], score: str) -> Text:
    wanted = _score(score)
    return Text(
        en=f"left out, having no {wanted.en}: {', '.join(absent)}",
        zh=f"因没有{wanted.zh}而未参与比较：{'、'.join(absent)}",
    )

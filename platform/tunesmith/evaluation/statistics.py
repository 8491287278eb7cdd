"""What may be concluded from differences of paired scores: an interval, a test, and what could be found at all.

Each function takes differences, one a sample: how one candidate scored minus how another did on the very same sample.
Pairing takes out how hard a sample is. Nothing is assumed of their distribution; draws are seeded, so that a repeat
gives the same figures. Knows no candidates and no scores.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL = 0.05
"""How often a difference may be found where there is none."""
POWER = 0.8
"""How often a difference that is there shall be found."""
RESAMPLES = 10_000
EQUAL = 1e-9
"""Scores that differ by less are equal: sums of the same numbers in another order are that far apart at most."""
FEWEST = 6
"""Samples below which nothing can be shown at 5 %: all of five differences point one way by chance 2 times in 32."""
_EXACT = 14
"""Up to so many samples that differ, every assignment of signs is looked at: 16 384."""
_MOST_UNITS = 2_000
"""Of more samples than this some are drawn together."""
_BLOCK = 2**22
"""Numbers that are drawn at once: memory stays below some 100 MB whatever the number of samples."""
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """A mean, and the two ends between which the true one lies, 95 times in 100."""

    mean: float
    low: float
    high: float


def is_equal(differences: Sequence[float]) -> bool:
    """Whether no sample differs: taken out before any test, of which some then answer NaN and some 0."""
    return all(abs(difference) <= EQUAL for difference in differences)


def intervals(
    rows: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """A bootstrap interval (BCa) of the mean of each row; all rows are resampled alike.

    `resamples` times, as many samples as there are are drawn with replacement, and the mean of each draw is noted. The
    interval's ends are quantiles of these means at `Phi(z0 + (z0 + z) / (1 - a (z0 + z)))`, with `z0 = Phi^-1(share of
    means below the observed one)` for their bias, and `a = sum (x - mean)^3 / (6 (sum (x - mean)^2)^1.5)` for their
    skew, from the jackknife: Efron & Tibshirani, An Introduction to the Bootstrap (1993), 14.3. `z` is not the normal
    quantile but `sqrt(n / (n - 1)) t(n - 1)`, the "expanded percentile" of Hesterberg, What Teachers Should Know About
    the Bootstrap (2015), 5.3: with few samples the plain interval is too narrow, at 5 samples by a third.

    Of more than 2 000 samples units of some neighbouring ones are drawn, as many: samples stand in the order of their
    ids, which chance decides, so that units are as independent as samples are, and 10 000 samples take no more.

    Args:
        rows: Numbers, one a sample, in the same order of samples; at least two each, all rows of one length.
        seed: Of the draws.
        resamples: How many draws.
    """
    import numpy as np

    values = np.asarray(rows, dtype=np.float64)
    assert values.ndim == 2 and values.shape[1] > 1, "at least two samples, the same of each row"  # noqa: PT018
    means = values.mean(axis=1)
    units = _units(values - means[:, None])
    n = units.shape[1]
    # Of their mean: of units of unlike size the values themselves would vary by their size.
    units = units * (n / values.shape[1]) + means[:, None]
    drawn = np.sort(_resampled_means(units, seed, resamples), axis=1)
    z = math.sqrt(n / (n - 1)) * student(1 - LEVEL / 2, n - 1)
    found = []
    for row, unit, mean, sorted_means in zip(values, units, means, drawn, strict=True):
        if np.abs(row - mean).max() <= EQUAL:  # one and the same number: no draw differs
            found.append(Interval(float(mean), float(mean), float(mean)))
            continue
        centred = unit - mean
        below = (sorted_means < mean).sum() + 0.5 * (sorted_means == mean).sum()
        bias = _NORMAL.inv_cdf(min(max(float(below) / resamples, 0.5 / resamples), 1 - 0.5 / resamples))
        skew = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))
        low, high = (
            float(np.quantile(sorted_means, _corrected(bias, skew, end), method="linear")) for end in (-z, z)
        )
        found.append(Interval(float(mean), low, high))
    return found


def interval(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The interval of one row's mean, as `intervals` has it."""
    return intervals([values], seed=seed, resamples=resamples)[0]


def _corrected(bias: float, skew: float, z: float) -> float:
    """The share of draws below an end: BCa's; without the skew where that would turn the end around."""
    denominator = 1 - skew * (bias + z)
    return _NORMAL.cdf(bias + (bias + z) / denominator if denominator > 0 else 2 * bias + z)


def _resampled_means(values: "Floats", seed: int, resamples: int) -> "Floats":
    """The means of each row over samples drawn with replacement: rows by draws."""
    import numpy as np

    rows, n = values.shape
    means = np.empty((rows, resamples))
    generator = np.random.default_rng(seed)
    for begin, count in _blocks(resamples, n):
        drawn = generator.integers(0, n, size=(count, n), dtype=np.int64)
        drawn += np.arange(count)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        means[:, begin : begin + count] = values @ times.T.astype(np.float64) / n
    return means


def _blocks(total: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK // width)
    for begin in range(0, total, step):
        yield begin, min(step, total - begin)


def p_values(rows: Sequence[Sequence[float]], *, seed: int = 0, draws: int = RESAMPLES) -> list[float]:
    """A paired test of each row: how often chance alone gives a mean as far from 0, to either side.

    If the two candidates were alike, each difference might as well have had the other sign (Fisher, The Design of
    Experiments, 1935, 21; Efron & Tibshirani 15.2): p is the share of assignments of signs whose sum is as far from 0
    as the observed one. All of them are looked at where up to 14 samples differ, so that p is exact; else `draws`
    random ones, and the observed one: `(1 + as far) / (1 + draws)`, which is never 0 and keeps the level (Phipson &
    Smyth, Permutation P-values Should Never Be Zero, 2010). A row in which no sample differs has p = 1. Of more than
    2 000 samples some neighbouring ones have one sign: as good a draw where both candidates are alike.
    """
    import numpy as np

    values = np.asarray(rows, dtype=np.float64)
    values = np.where(np.abs(values) <= EQUAL, 0.0, values)
    found = [1.0] * len(values)
    is_drawn = []
    for number, row in enumerate(values):
        differing = row[row != 0]
        if len(differing) > _EXACT:
            is_drawn.append(number)
        elif len(differing):
            signs = 1 - 2 * ((np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing))) & 1)
            found[number] = float(_as_far(signs @ differing, differing).mean())
    if is_drawn:
        counts = _drawn_as_far(_units(values[is_drawn]), seed, draws)
        for number, count in zip(is_drawn, counts, strict=True):
            found[number] = (1 + count) / (1 + draws)
    return found


def _units(values: "Floats") -> "Floats":
    """Rows of at most 2 000 sums of neighbouring samples, each of as many as can be; short rows as they are."""
    import numpy as np

    n = values.shape[1]
    if n <= _MOST_UNITS:
        return values
    begins = (np.arange(_MOST_UNITS) * n) // _MOST_UNITS
    return np.asarray(np.add.reduceat(values, begins, axis=1))


def _as_far(sums: "Floats", row: "Floats") -> "NDArray[np.bool_]":
    """Which sums are as far from 0 as the row's own; one that differs by rounding is."""
    import numpy as np

    return np.asarray(np.abs(sums) >= abs(row.sum()) - 1e-12 * np.abs(row).sum())


def _drawn_as_far(values: "Floats", seed: int, draws: int) -> list[int]:
    import numpy as np

    generator = np.random.default_rng([seed, 1])  # other draws than the interval's
    n = values.shape[1]
    counts = [0] * len(values)
    for _, count in _blocks(draws, n):
        bits = np.unpackbits(np.frombuffer(generator.bytes(count * -(-n // 8)), np.uint8))
        signs = bits.reshape(count, -1)[:, :n].astype(np.float64) * 2 - 1
        for number, sums in enumerate(values @ signs.T):
            counts[number] += int(_as_far(sums, values[number]).sum())
    return counts


def holm(values: Sequence[float], among: int = 0) -> list[float]:
    """p-values adjusted so that one below 5 % is a false find 5 times in 100 over all of them together.

    Sorted from the smallest, the i-th of m is multiplied by m - i + 1, and none is smaller than the one before it nor
    above 1 (Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979). Holds however they
    depend on each other.

    Args:
        values: p-values.
        among: How many tests they were chosen from, where that was done after looking at the data; m is at least that.
            The others' places are not needed: that each of these comes earlier than it would among all errs on the
            safe side.
    """
    m = max(among, len(values))
    adjusted = [0.0] * len(values)
    least = 0.0
    for place, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, values[number] * (m - place)))
        adjusted[number] = least
    return adjusted


def spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample (n - 1); 0 of fewer than two."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def smallest_difference(deviation: float, samples: int, *, level: float = LEVEL) -> float | None:
    """The smallest true difference that so many samples find 4 times in 5.

    `(t(1 - level / 2) + t(0.8)) * deviation / sqrt(samples)`, t of samples - 1 degrees of freedom: Cohen, Statistical
    Power Analysis for the Behavioral Sciences (1988), 2; the "minimum detectable effect" of Bloom (1995).

    Args:
        deviation: The standard deviation of the differences.
        samples: How many differences.
        level: Of the test.

    Returns:
        None where nothing is known of the spread, or where so few samples can show nothing at that level.
    """
    if samples < FEWEST or deviation <= EQUAL or 2 / 2**samples > level:
        return None
    factor = student(1 - level / 2, samples - 1) + student(POWER, samples - 1)
    return factor * deviation / math.sqrt(samples)


def samples_needed(deviation: float, distance: float) -> int | None:
    """How many samples an interval of 95 % needs to end before a bound, 4 times in 5.

    `((z(0.975) + z(0.8)) * deviation / distance)^2`, rounded up: the formula of `smallest_difference`, solved for the
    number.

    Args:
        deviation: The standard deviation of the differences.
        distance: From the difference that is observed to the bound.

    Returns:
        None where no number would do: the difference lies on the bound.
    """
    if abs(distance) <= EQUAL:
        return None
    factor = _NORMAL.inv_cdf(1 - LEVEL / 2) + _NORMAL.inv_cdf(POWER)
    return max(FEWEST, math.ceil((factor * deviation / distance) ** 2))


@functools.lru_cache(maxsize=256)
def student(share: float, freedom: int) -> float:
    """The quantile of Student's t: below it lies that share.

    By bisection of its distribution in closed form (Abramowitz & Stegun 26.7.3 and 26.7.4), which needs no library.

    Args:
        share: Between 0.5 and 1, without 1.
        freedom: Degrees of freedom, from 1; beyond 1 000 the normal distribution is the same to 0.2 %.
    """
    assert 0.5 <= share < 1, "the upper half"
    if freedom > 1000:
        return _NORMAL.inv_cdf(share)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 2 * share - 1 else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """How much of Student's t lies within tan(angle) * sqrt(freedom) of 0."""
    sine, square = math.sin(angle), math.cos(angle) ** 2
    is_odd = freedom % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for step in range(freedom // 2):
        total += term
        above = 2 * step + 2 if is_odd else 2 * step + 1
        term *= square * above / (above + 1)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total

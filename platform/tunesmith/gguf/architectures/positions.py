"""How positions turn queries and keys, as a GGUF file says it: a base, a way of scaling, what each pair is divided by.

Knows what transformers 5 and 4 write; knows no architecture: which ways llama.cpp has in one, its class says.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from tunesmith.gguf.architectures.given import Given, listed
from tunesmith.gguf.file import Value
from tunesmith.spec.base import Notice

PLAIN = ("default", "linear", "yarn")
"""The ways that llama.cpp has in every architecture."""
_THETA = 10000.0
"""What the library takes where nobody says it."""
_KEYS: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset(
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
    ),
    "yarn": frozenset(
        {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"}
    ),
    "longrope": frozenset(
        {"factor", "original_max_position_embeddings", "short_factor", "long_factor", "attention_factor"}
    ),
}
"""The ways of turning positions that are written, with the fields that each reads."""
_OLDER = {"su": "longrope"}
"""Names of before."""


class Positions(NamedTuple):
    """What a file says of them."""

    metadata: dict[str, Value]
    factors: dict[str, tuple[float, ...]]
    """What the turning of each pair is divided by, as tensors of the file."""
    turned: int
    """How many numbers of a head are turned, from the first."""
    notices: tuple[Notice, ...] = ()


def rope_part(given: Given) -> Given:
    """The part of a configuration that says how positions turn."""
    found = given.part("rope_parameters")
    # As transformers 4 wrote it, where 5 writes the other.
    return found if isinstance(given.get("rope_parameters"), Mapping) else given.part("rope_scaling")


def positions_of(
    given: Given, rope: Given, head_size: int, ways: tuple[str, ...], *, may_be_partial: bool = False
) -> Positions:
    """How positions turn queries and keys.

    Args:
        given: The model's configuration.
        rope: The part of it that says it.
        head_size: Numbers of a head.
        ways: The ways of scaling that llama.cpp has in the architecture.
        may_be_partial: Whether it can turn a part of each head alone.

    Raises:
        NotConvertible: It has no place in the file.
    """
    said = rope.text("rope_type") or rope.text("type") or "default"
    kind = _OLDER.get(said, said)
    if kind not in ways:
        raise rope.refused("rope_type", f"is `{said}`: only {listed(ways)} have a place in the file")
    _refuse_others(rope, kind)
    share = _share(given, rope, may_be_partial=may_be_partial)
    turned = int(head_size * share)
    if turned < 2 or turned % 2:
        raise given.refused("partial_rotary_factor", f"turns {turned} numbers of a head, which are no pairs")
    theta = rope.number("rope_theta", given.number("rope_theta", _THETA))
    metadata: dict[str, Value] = {"rope.freq_base": theta, "rope.dimension_count": turned}
    if kind == "linear":
        metadata |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope.number("factor")}
    if kind == "llama3":
        return Positions(metadata, {"rope_freqs.weight": _llama3_factors(rope, theta, turned)}, turned)
    if kind == "yarn":
        metadata |= _yarn(rope, given)
    if kind == "longrope":
        return _longrope(rope, given, metadata, turned)
    return Positions(metadata, {}, turned)


def _refuse_others(rope: Given, kind: str) -> None:
    for key in rope.names():
        if key in _KEYS[kind] | {"rope_type", "type", "rope_theta", "partial_rotary_factor"}:
            continue
        if kind == "default" and key in ("factor", "original_max_position_embeddings"):
            continue  # read by nobody there
        raise rope.refused(key, f"has no place in the file beside `{kind}`")


def _share(given: Given, rope: Given, *, may_be_partial: bool) -> float:
    place = rope if rope.says("partial_rotary_factor") else given
    found = place.number("partial_rotary_factor", 1.0)
    if found != 1 and not (may_be_partial and found < 1):
        raise place.refused("partial_rotary_factor", "turns a part of each head alone")
    return found


def _yarn(rope: Given, given: Given) -> dict[str, Value]:
    factor = rope.number("factor")
    expected = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    if not math.isclose(rope.number("attention_factor", expected), expected, rel_tol=1e-6):
        raise rope.refused("attention_factor", "is another one than llama.cpp takes")
    context = given.size("max_position_embeddings")
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": rope.size("original_max_position_embeddings", context),
        "rope.scaling.yarn_beta_fast": rope.number("beta_fast", 32.0),
        "rope.scaling.yarn_beta_slow": rope.number("beta_slow", 1.0),
    }


def _llama3_factors(rope: Given, theta: float, turned: int) -> tuple[float, ...]:
    """What each pair's turning is divided by: 1 for fast ones, `factor` for slow ones, and between."""
    factor, original = rope.number("factor"), rope.number("original_max_position_embeddings")
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if not low < high:
        raise rope.refused("high_freq_factor", "is not above `low_freq_factor`")

    def of(pair: int) -> float:
        length = 2 * math.pi * float(theta ** (2 * pair / turned))
        if length < original / high:
            return 1.0
        if length > original / low:
            return factor
        smooth = (original / length - low) / (high - low)
        return 1 / ((1 - smooth) / factor + smooth)

    return tuple(of(pair) for pair in range(turned // 2))


def _longrope(rope: Given, given: Given, metadata: dict[str, Value], turned: int) -> Positions:
    """Two lists of factors: one for texts as long as those of the first training, one for longer ones."""
    context = given.size("max_position_embeddings")
    # The model's own field goes before the part's, as in the library.
    original = given.size(
        "original_max_position_embeddings", rope.size("original_max_position_embeddings", context)
    )
    factor = rope.number("factor", context / original)
    counted = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    long, short = rope.numbers("long_factor", turned // 2), rope.numbers("short_factor", turned // 2)
    notices: tuple[Notice, ...] = ()
    if long != short and context > original:
        message = (
            f"Texts of up to {original} tokens are read with other factors than longer ones (`long_factor`). The "
            f"library decides by each text, llama.cpp once, by the context it is started with: start it with at most "
            f"{original} tokens (`--ctx-size`) where texts are no longer."
        )
        notices = (Notice(field=f"{rope.place}long_factor", message=message),)
    metadata |= {
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": original,
        "rope.scaling.attn_factor": rope.number("attention_factor", counted),
    }
    factors = {"rope_factors_long.weight": long, "rope_factors_short.weight": short}
    return Positions(metadata, factors, turned, notices)

"""Which models one question may be put to side by side. The same check in the terminal and on the server."""

from collections.abc import Sequence

from tunesmith.errors import InvalidInput

LEAST, MOST = 2, 4
"""How many models are compared."""


def refuse_same_weights(names: Sequence[str], weights: Sequence[str]) -> None:
    """Refuse a comparison of a model with itself: its two answers would be one.

    Args:
        names: As they were given.
        weights: What each stands for now: what has the same here is the same model.

    Raises:
        InvalidInput: Two are the same weights, or there are too few or too many.
    """
    if not LEAST <= len(names) <= MOST:
        raise InvalidInput(
            f"{LEAST} to {MOST} models are compared, not {len(names)}.",
            hint="Name them as in `/compare sft:20 sft:40`.",
            field="models",
        )
    first: dict[str, str] = {}
    for name, told in zip(names, weights, strict=True):
        if told in first:
            raise InvalidInput(
                f"`{first[told]}` and `{name}` are the same weights.",
                hint="Name another checkpoint.",
                field="models",
            )
        first[told] = name

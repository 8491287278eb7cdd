"""What a model's likelihood of the reference says. Knows numbers alone."""

import math

_MOST = 200.0
"""exp() of more is too large for a comparison: its cube, summed over 10 000 samples, would be no number."""


def perplexity(nll: float, tokens: int) -> float:
    """How many tokens the model hesitates between, on average, at each token of the reference answer. Lower is better.

    exp(nll / tokens). Range [1, inf), cut at e^200. Comparable only between models of one tokenizer. Source: Jelinek et
    al. 1977; `nll` is the sum over the answer's tokens given the question, in nats, as transformers' loss is.

    Raises:
        ValueError: There is no token, or the sum is no number or below 0.
    """
    if tokens < 1 or not math.isfinite(nll) or nll < -1e-6:
        raise ValueError("There is no likelihood.")
    return math.exp(min(max(nll, 0.0) / tokens, _MOST))


def perplexity_share(value: float) -> float:
    """A perplexity as it enters the composite: 1 / (1 + ln ppl). Range (0, 1]; higher is better."""
    return 1 / (1 + math.log(max(value, 1.0)))

"""Candidates over one base model: what they answer, and how likely they find what was expected.

`Engine` loads a candidate and swaps it for another; `Sampling` says how tokens are drawn. A result is a function of the
sample, the candidate and the machine alone: neither what else is asked nor how many are asked at once changes a bit of
it in fp32. Knows torch, transformers and peft; knows nothing of tasks, files of samples or scores.
"""

from tunesmith_jobs.evaluate.engine.core import Engine
from tunesmith_jobs.evaluate.engine.sampling import Made, Sampling

__all__ = ["Engine", "Made", "Sampling"]

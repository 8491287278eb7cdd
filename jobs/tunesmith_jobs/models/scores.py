"""What an evaluation measures, summed over batches and workers: losses of tokens, or losses and hits of classes.

Keeps sums only, so that the evaluation of any number of rows takes the memory of one batch. Knows nothing of files or
of the Trainer.
"""

import math
from typing import Any, Protocol

import torch
from torch.nn.functional import cross_entropy

from tunesmith.rows.tokens.encoding import IGNORE_INDEX

_MAX_PERPLEXITY_LOSS = 100.0


def perplexity(loss: float) -> float:
    """exp(loss); infinite where that is beyond sense."""
    return math.exp(loss) if loss < _MAX_PERPLEXITY_LOSS else math.inf


def class_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The classifier's loss: the sum over the rows of a batch / the rows of the whole step."""
    total = cross_entropy(outputs.logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (num_items_in_batch if num_items_in_batch is not None else len(labels))


class Scores(Protocol):
    """Sums over the batches of an evaluation."""

    sums: torch.Tensor
    """Of shape (anything,), fp64; the workers' are added up."""

    def add(self, model: Any, inputs: dict[str, Any]) -> None:
        """Run the model on a batch and add what it says."""

    def values(self) -> dict[str, float]:
        """The measurements, by their names."""


class TokenScores:
    """The mean loss over every label. The sums are [loss, labels]."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, model: Any, inputs: dict[str, Any]) -> None:
        """See `Scores`."""
        # One item in the batch: the model answers with the sum.
        self.sums[0] += model(**inputs, num_items_in_batch=1).loss.double()
        self.sums[1] += (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()

    def values(self) -> dict[str, float]:
        """See `Scores`."""
        loss = float(self.sums[0] / self.sums[1].clamp(min=1))
        return {"eval_loss": loss, "eval_perplexity": perplexity(loss)}


class ClassScores:
    """Mean loss over the rows, share of right answers, and F1 averaged over the classes that are there or were said.

    The sums are [loss, rows, right of each class, rows of each class, answers of each class].
    """

    def __init__(self, device: torch.device, classes: int) -> None:
        self._classes = classes
        self.sums = torch.zeros(2 + 3 * classes, dtype=torch.float64, device=device)

    def add(self, model: Any, inputs: dict[str, Any]) -> None:
        """See `Scores`."""
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        self.sums[0] += class_loss(outputs, labels, 1).double()
        self.sums[1] += len(labels)
        answers = outputs.logits.argmax(dim=-1)
        counted = [answers[answers == labels], labels, answers]
        for i, found in enumerate(counted):
            begin = 2 + i * self._classes
            self.sums[begin : begin + self._classes] += torch.bincount(found, minlength=self._classes)

    def values(self) -> dict[str, float]:
        """See `Scores`."""
        loss, rows = self.sums[:2].tolist()
        right, there, said = self.sums[2:].view(3, self._classes)
        seen = there + said > 0
        f1 = 2 * right[seen] / (there + said)[seen]
        return {
            "eval_loss": loss / max(rows, 1.0),
            "eval_accuracy": float(right.sum()) / max(rows, 1.0),
            "eval_f1": float(f1.mean()) if len(f1) else 0.0,
        }

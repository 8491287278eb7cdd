"""How good a run is by its evaluations: which step is best, and whether it has gone on for long enough.

Saved with every checkpoint, so that a resumed run judges as an undisturbed one. Knows no library of training.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

EVALUATION_STATE_FILE = "tunesmith_standing.json"
"""In a checkpoint; the name is that of the first ones, which are still gone on from."""
_LOWER_IS_BETTER = frozenset({"eval_loss", "eval_perplexity"})


@dataclass
class EvaluationState:
    """How good the run is by its evaluations, and which saves it has answered. Saved with every checkpoint."""

    best: float | None = None
    best_step: int = 0
    mark: float | None = None
    """What an evaluation must beat, by more than the threshold, to count as an improvement."""
    misses: int = 0
    """Evaluations since the last improvement."""
    last: float | None = None
    last_step: int = 0
    kept: float | None = None
    kept_step: int | None = None
    """The best among the checkpoints that were evaluated."""
    is_lower_better: bool = True
    saves_answered: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    """What is reported of the checkpoint that this is saved with, by name."""

    def take(self, metric: str, value: float, step: int, threshold: float) -> bool:
        """Count an evaluation. Returns whether it is the best so far."""
        self.is_lower_better = metric in _LOWER_IS_BETTER
        self.last, self.last_step = value, step
        if self._gain(value, self.mark) > threshold:
            self.mark, self.misses = value, 0
        else:
            self.misses += 1
        is_best = self._gain(value, self.best) > 0
        if is_best:
            self.best, self.best_step = value, step
        return is_best

    def keep(self, step: int) -> None:
        """A checkpoint is saved at this step."""
        if self.last is not None and self.last_step == step and self._gain(self.last, self.kept) > 0:
            self.kept, self.kept_step = self.last, step

    def is_spent(self, patience: int) -> bool:
        """Whether the run has gone on for long enough without an improvement; a patience of 0 never ends."""
        return 0 < patience <= self.misses

    def words(self, metric: str) -> str:
        """Why a spent run ended, as a sentence."""
        if self.best is None:
            return f"Stopped early: {metric} has not improved, evaluations: {self.misses}."
        return (
            f"Stopped early: {metric} has not improved since step {self.best_step}, where it was {self.best:.4g}; "
            f"evaluations since then: {self.misses}."
        )

    def _gain(self, value: float, other: float | None) -> float:
        """By how much `value` is better; a value that is no number is never better."""
        if not math.isfinite(value):
            return -math.inf
        if other is None:
            return math.inf
        return other - value if self.is_lower_better else value - other

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint."""
        (folder / EVALUATION_STATE_FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def of(cls, folder: Path) -> "EvaluationState":
        """What a checkpoint holds of it; a new one where it holds none."""
        try:
            found = json.loads((folder / EVALUATION_STATE_FILE).read_text())
        except FileNotFoundError:
            return cls()
        return cls(**{item.name: found[item.name] for item in fields(cls) if item.name in found})

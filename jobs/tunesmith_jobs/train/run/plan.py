"""What a run will do, in numbers, and the sums it keeps while it does.

Knows no library of training.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.spec.training import TrainSpec
from tunesmith.state_of import StateOf


@dataclass
class Window:
    """Sums since the last log line, and one since the start. Saved with every checkpoint."""

    loss: float = 0.0
    targets: float = 0.0
    tokens: float = 0.0
    places: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    supervised_total: float = 0.0

    def restart(self) -> None:
        """Begin the next window."""
        self.__init__(supervised_total=self.supervised_total)  # type: ignore[misc]


@dataclass
class Plan:
    """What the run will do, in numbers."""

    spec: TrainSpec
    state_of: StateOf
    """What the states in this run's checkpoints are of."""
    total_steps: int
    steps_per_epoch: int
    evaluates: bool
    restart: int = 0
    ready_at: float = 0.0
    """When the weights were there (`time.perf_counter`): the first step's time counts from here."""
    facts: dict[str, Any] = field(default_factory=dict)
    tokenizer: Path | None = None
    """Whose files a checkpoint of all weights carries, so that it is a model by itself."""
    source: Path | None = None
    """The folder of the model that is trained."""
    base: str | None = None
    """What the base model is called outside of this machine."""

    def is_due(self, strategy: str, every: int, step: int) -> bool:
        """Whether something with a `steps`/`epoch`/`no` strategy is due after `step`."""
        if strategy == "steps":
            return step % every == 0
        return strategy == "epoch" and step % self.steps_per_epoch == 0

    def evaluates_after(self, step: int) -> bool:
        """Whether an evaluation is due after `step`: when its strategy says so, and after the last one."""
        spec = self.spec
        is_last = step >= self.total_steps
        return self.evaluates and (is_last or self.is_due(spec.eval_strategy, spec.eval_steps, step))

"""What in a task's measurements its user should know of: loss spikes, stalls, overfitting, restarts.

Pure: each detector takes what it remembers and one event, and answers what to warn of. Nothing here knows a database,
a clock or a task. A detector warns once of one trouble, and again only after it was over.
"""

import datetime as dt
import statistics
from collections import deque
from dataclasses import dataclass, field

from tunesmith.events import CheckpointSaved, Metrics, Progress, TrainingStarted, Warned

SPIKE_WINDOW = 32
"""Losses that a loss is compared with."""
SPIKE_LEAST = 12
"""Fewer losses say nothing: the first steps of a run fall steeply."""
SPIKE_SPREADS = 8.0
"""How many spreads above the median of the window a loss is a spike."""
STALL_TIMES = 10.0
"""How many times the median pause between two steps a silence is a stall."""
STALL_LEAST_SECONDS = 120.0
RISING = 3
"""Evaluations in a row with a rising loss that make overfitting."""
_MAD = 1.4826  # the median absolute deviation of a normal distribution, as its standard deviation
EVENTS = ("training_started", "metrics", "progress", "checkpoint")
"""The kinds of events that detectors look at."""

Payload = TrainingStarted | Metrics | Progress | CheckpointSaved


@dataclass
class Spikes:
    """A loss far above those before it."""

    losses: deque[float] = field(default_factory=lambda: deque(maxlen=SPIKE_WINDOW))
    quiet: int = 0
    """Losses for which nothing more is said."""

    def take(self, step: int, loss: float) -> Warned | None:
        """Take in a loss."""
        limit, before = self._limit(), list(self.losses)
        self.losses.append(loss)  # medians bear spikes; a loss that stays high is the usual one in the end
        self.quiet = max(0, self.quiet - 1)
        if limit is None or loss <= limit or self.quiet:
            return None
        self.quiet = SPIKE_WINDOW
        usual = statistics.median(before)
        return Warned(
            code="loss_spike",
            message=f"The loss rose to {loss:.4g} at step {step}; it was about {usual:.4g}.",
            hint="One spike is often a bad row. If they come again, lower `learning_rate` or `max_grad_norm`.",
        )

    def _limit(self) -> float | None:
        if len(self.losses) < SPIKE_LEAST:
            return None
        middle = statistics.median(self.losses)
        spread = _MAD * statistics.median(abs(loss - middle) for loss in self.losses)
        # A run that goes very smoothly must not warn of every ripple.
        return middle + max(SPIKE_SPREADS * spread, 0.5 * abs(middle), 0.05)


@dataclass
class Overfitting:
    """The evaluation loss rises from one evaluation to the next while the training loss falls."""

    since: list[tuple[float, float]] = field(default_factory=list)
    """Evaluation loss and training loss of the evaluations since the best one, that one first."""
    losses: list[float] = field(default_factory=list)
    """Training losses since the last evaluation."""
    is_warned: bool = False

    def take(self, step: int, loss: float | None, eval_loss: float | None) -> Warned | None:
        """Take in what was measured at a step."""
        if loss is not None:
            self.losses.append(loss)
        if eval_loss is None or not self.losses:
            return None
        trained = statistics.fmean(self.losses)
        self.losses.clear()
        if not self.since or eval_loss < self.since[0][0]:
            self.since, self.is_warned = [(eval_loss, trained)], False  # the best so far: a new beginning
            return None
        if eval_loss <= self.since[-1][0]:
            del self.since[1:]  # it went down again: the count of rises begins anew at the best
            return None
        self.since.append((eval_loss, trained))
        rises = len(self.since) - 1
        if self.is_warned or rises < RISING or trained >= self.since[0][1]:
            return None
        self.is_warned = True
        best = self.since[0][0]
        return Warned(
            code="overfitting",
            message=(
                f"The evaluation loss has risen {rises} times in a row, from {best:.4g} to {eval_loss:.4g} at step "
                f"{step}, while the training loss fell: the model begins to learn its rows by heart."
            ),
            hint="Stop it and take its best checkpoint, or train fewer epochs with more rows.",
        )


@dataclass
class Stalls:
    """No step for much longer than steps took so far."""

    pauses: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    longest: float = 0.0
    step: int | None = None
    total: int | None = None
    heard_at: dt.datetime | None = None

    def restart(self, moment: dt.datetime) -> None:
        """Workers began anew: how long that took says nothing of a step."""
        self.step, self.heard_at = None, moment

    def take(self, step: int, moment: dt.datetime) -> None:
        """Take in that a step was reached, or a checkpoint saved."""
        if self.heard_at is not None and self.step is not None:
            pause = (moment - self.heard_at).total_seconds()
            self.longest = max(self.longest, pause)
            if step > self.step:
                self.pauses.append(pause / (step - self.step))
        self.step, self.heard_at = max(step, self.step or 0), moment

    def look(self, silence: float) -> Warned | None:
        """What there is to warn of after so many seconds without a word.

        After the last step none is due, however long a model is then merged, sent or proven.
        The pauses are on the job's clock and the silence on ours, so that the two need not agree on the time. The
        caller sees to it that one stall is warned of once.
        """
        if self.step is None or len(self.pauses) < 3:
            return None
        if self.total is not None and self.step >= self.total:
            return None
        usual = statistics.median(self.pauses)
        # An evaluation or a save may take long; the longest pause so far tells how long.
        if silence <= max(STALL_LEAST_SECONDS, STALL_TIMES * usual, 2 * self.longest):
            return None
        return Warned(
            code="stall",
            message=f"No step since step {self.step}, for {silence:.0f} s; one took about {usual:.3g} s so far.",
            hint="Look at its log and at the nodes (`tunesmith environment`). A first long evaluation looks the "
            "same.",
        )


@dataclass
class Watch:
    """Everything that is watched of one task."""

    spikes: Spikes = field(default_factory=Spikes)
    overfitting: Overfitting = field(default_factory=Overfitting)
    stalls: Stalls = field(default_factory=Stalls)
    newest_step: int = -1

    def take(self, payload: Payload, moment: dt.datetime) -> list[Warned]:
        """Take in an event.

        Args:
            payload: What happened.
            moment: When, on the job's clock.
        """
        if isinstance(payload, TrainingStarted | Progress):
            self.stalls.total = payload.total_steps
        match payload:
            case TrainingStarted():
                self.stalls.restart(moment)
                return [_restarted(payload)] if payload.restart else []
            case Metrics():
                return self._measured(payload, moment)
            case Progress() | CheckpointSaved():
                self.stalls.take(payload.step, moment)
        return []

    def _measured(self, payload: Metrics, moment: dt.datetime) -> list[Warned]:
        self.stalls.take(payload.step, moment)
        if payload.step < self.newest_step:
            return []  # done again after a restart: it was looked at
        self.newest_step = payload.step
        loss, eval_loss = payload.values.get("loss"), payload.values.get("eval_loss")
        found = [
            self.spikes.take(payload.step, loss) if loss is not None else None,
            self.overfitting.take(payload.step, loss, eval_loss),
        ]
        return [warning for warning in found if warning is not None]


def _restarted(payload: TrainingStarted) -> Warned:
    return Warned(
        code="restart",
        message=f"Its workers were restarted; it goes on after step {payload.step}.",
        hint="A worker was lost: its node's memory and log may say why.",
    )

"""A task's states, the legal moves between them, and the reasons a task may end for: one table.

Knows nothing of how a task is run. *Why* a task ended is a reason, never another state; the reason fixes the
end state, whose fault it was, and whether trying again may help.
"""

from enum import StrEnum
from typing import NamedTuple

from tunesmith.errors import Fault


class State(StrEnum):
    """The six states users know."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether the task is over; nothing but its user's `continue` brings it back."""
        return self in ENDS


MOVES: dict[State, frozenset[State]] = {
    # `pending -> failed`: it could not be started (its code or files are gone, the retries are used up).
    State.PENDING: frozenset({State.RUNNING, State.STOPPED, State.FAILED}),
    # `running -> pending`: the infrastructure lost the attempt; the task waits for its next one.
    State.RUNNING: frozenset({State.COMPLETED, State.FAILED, State.STOPPING, State.PENDING}),
    # It may end in another way before the stop reaches it.
    State.STOPPING: frozenset({State.STOPPED, State.FAILED, State.COMPLETED}),
    # The one way back: the user's `continue`, and nothing else, lets an ended task wait for another attempt.
    State.STOPPED: frozenset({State.PENDING}),
    State.COMPLETED: frozenset({State.PENDING}),
    State.FAILED: frozenset({State.PENDING}),
}
ENDS = frozenset({State.STOPPED, State.COMPLETED, State.FAILED})
"""The states of a task that is over."""


def may_move(source: State, target: State, *, is_continued: bool = False) -> bool:
    """Whether a task in `source` may go to `target`.

    Args:
        source: Where it is.
        target: Where it would go.
        is_continued: Whether its user asked to continue it: no ended task goes anywhere without that.
    """
    return target in MOVES[source] and source.is_terminal == is_continued


class Desired(StrEnum):
    """What the user wants of a task; the reconciler brings the world there."""

    RUN = "run"
    STOP = "stop"


class WaitsFor(StrEnum):
    """What a pending task waits for."""

    NEEDS = "needs"
    QUOTA = "quota"
    RESOURCES = "resources"
    BACKOFF = "backoff"
    START = "start"


class Reason(StrEnum):
    """Why a task ended."""

    COMPLETED = "completed"
    STOPPED_BY_USER = "stopped_by_user"
    STOPPED_BEFORE_START = "stopped_before_start"
    QUOTA = "quota"
    BAD_DATA = "bad_data"
    BAD_MODEL = "bad_model"
    BAD_PARAMETERS = "bad_parameters"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    NUMERIC = "numeric"
    USER_CODE = "user_code"
    WORKER_LOST = "worker_lost"
    JOB_LOST = "job_lost"
    STORAGE = "storage"
    RESTORED = "restored"


class ReasonFacts(NamedTuple):
    """What a reason means."""

    end: State
    fault: Fault | None
    retryable: bool
    words: str
    next_step: str


REASONS: dict[Reason, ReasonFacts] = {
    Reason.COMPLETED: ReasonFacts(State.COMPLETED, None, False, "Completed.", "Evaluate or package it."),
    Reason.STOPPED_BY_USER: ReasonFacts(
        State.STOPPED,
        None,
        False,
        "Stopped on request.",
        "It can be continued: at its last checkpoint, or from the start where it has none.",
    ),
    Reason.STOPPED_BEFORE_START: ReasonFacts(
        State.STOPPED, None, False, "Stopped before it started.", "Submit it again when it is wanted."
    ),
    Reason.QUOTA: ReasonFacts(
        State.STOPPED,
        Fault.USER,
        False,
        "The training quota ran out.",
        "Ask for a grant, then continue the task.",
    ),
    Reason.BAD_DATA: ReasonFacts(
        State.FAILED,
        Fault.USER,
        False,
        "The data cannot be trained on.",
        "Fix the rows that the message names.",
    ),
    Reason.BAD_MODEL: ReasonFacts(
        State.FAILED, Fault.USER, False, "The model cannot be loaded.", "Check the model folder."
    ),
    Reason.BAD_PARAMETERS: ReasonFacts(
        State.FAILED,
        Fault.USER,
        False,
        "The parameters rule each other out.",
        "Change what the message names.",
    ),
    Reason.OUT_OF_MEMORY: ReasonFacts(
        State.FAILED,
        Fault.USER,
        False,
        "It ran out of memory.",
        "Halve `per_device_train_batch_size` and double `gradient_accumulation_steps`, turn "
        "`gradient_checkpointing` on, or lower `max_length`.",
    ),
    Reason.DISK_FULL: ReasonFacts(
        State.FAILED,
        Fault.INFRASTRUCTURE,
        True,
        "The disk is full.",
        "Free space, or lower a training's `save_total_limit`, then continue the task.",
    ),
    Reason.NUMERIC: ReasonFacts(
        State.FAILED,
        Fault.USER,
        False,
        "The loss became NaN or infinite.",
        "Lower `learning_rate`, or use `precision=fp32`.",
    ),
    Reason.USER_CODE: ReasonFacts(
        State.FAILED, Fault.USER, False, "The training code raised an error.", "Read the task's log."
    ),
    Reason.WORKER_LOST: ReasonFacts(
        State.FAILED,
        Fault.INFRASTRUCTURE,
        True,
        "Training workers died more often than `max_restarts` allows.",
        "Look at the node's memory and logs, then submit the task again.",
    ),
    Reason.JOB_LOST: ReasonFacts(
        State.FAILED,
        Fault.INFRASTRUCTURE,
        True,
        "The job vanished more often than `max_restarts` allows.",
        "Check that Ray is up (`tunesmith status`), then submit the task again.",
    ),
    Reason.STORAGE: ReasonFacts(
        State.FAILED,
        Fault.INFRASTRUCTURE,
        True,
        "The storage did not take the files.",
        "Check that the storage is reachable and writable, then submit the task again.",
    ),
    Reason.RESTORED: ReasonFacts(
        State.STOPPED,
        Fault.INFRASTRUCTURE,
        False,
        "It was under way when the backup was made from which the platform was restored.",
        "It may have gone on where it ran: see that it does not any more, then continue it.",
    ),
}

"""How an attempt ended, as its processes hand it to each other: the state, the reason, the words.

Knows the reasons; knows nothing of who found it, nor of how it is reported (`events.Finished`).
"""

from pydantic import BaseModel

from tunesmith.events import Finished
from tunesmith.lifecycle import REASONS, Reason, State


class Outcome(BaseModel):
    """How an attempt ended. One that was superseded reports nothing to anybody."""

    outcome: State
    reason: Reason
    message: str = ""
    model_uri: str | None = None
    superseded: bool = False

    @classmethod
    def because(cls, reason: Reason, message: str = "") -> "Outcome":
        """The outcome that a reason fixes."""
        return cls(outcome=REASONS[reason].end, reason=reason, message=message)

    @classmethod
    def of_superseded(cls) -> "Outcome":
        """The outcome of an attempt that is over for the control plane already."""
        return cls(outcome=State.FAILED, reason=Reason.JOB_LOST, superseded=True)

    def finished(self) -> Finished:
        """The last event of the attempt."""
        return Finished(
            outcome=self.outcome, reason=self.reason, message=self.message, model_uri=self.model_uri
        )

"""What a pipeline does next: a pure function over its steps' states. Knows nothing of how a step is carried out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tunesmith.lifecycle import Desired, State


class StepFacts(NamedTuple):
    """A step as far as the decision needs it."""

    name: str
    state: State
    needs: Sequence[str]


class Next(NamedTuple):
    """What to do: steps to start, steps to stop, and the pipeline's own state."""

    start: tuple[str, ...]
    stop: tuple[str, ...]
    state: State


def decide(steps: Sequence[StepFacts], desired: Desired) -> Next:
    """What a pipeline does next.

    Once a step has failed or was stopped nothing new starts; what runs beside it ends in its own way first.

    Args:
        steps: Its steps.
        desired: What the user wants of it.
    """
    states: Mapping[str, State] = {step.name: step.state for step in steps}
    busy = tuple(step.name for step in steps if step.state in (State.RUNNING, State.STOPPING))
    if all(state is State.COMPLETED for state in states.values()):
        return Next((), (), State.COMPLETED)
    if desired is Desired.STOP:
        running = tuple(name for name in busy if states[name] is State.RUNNING)
        return Next((), running, State.STOPPING if busy else State.STOPPED)
    ended = [state for state in states.values() if state in (State.FAILED, State.STOPPED)]
    if ended:
        over = State.FAILED if State.FAILED in ended else State.STOPPED
        return Next((), (), State.RUNNING if busy else over)
    ready = tuple(
        step.name
        for step in steps
        if step.state is State.PENDING and all(states[need] is State.COMPLETED for need in step.needs)
    )
    return Next(ready, (), State.RUNNING)

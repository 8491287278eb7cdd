"""Workers of an attempt on other nodes: a small actor on each looks at them for the driver, which cannot see them.

None is started as long as all the workers are on the driver's own machine. Knows Ray; what is looked at, and what
follows, is `silence`'s.
"""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.job import AttemptDocument
from tunesmith.processes import ProcessRecord
from tunesmith_jobs.silence import Here, Silence

_PATIENCE_SECONDS = 15.0
"""How long workers may be missing on the driver's machine before they are looked for on others."""
_ANSWER_SECONDS = 1.0
_END_SECONDS = 20.0
_OVERDUE_SECONDS = 60.0
"""An actor that has not answered for so long is given up: it was never started, or its node hangs."""
_AGAIN_SECONDS = 300.0
"""How much later another is started on its node."""
_log = logging.getLogger("tunesmith_jobs.elsewhere")


class Eyes:
    """What looks on another node; Ray's actor. It ends with its driver."""

    def __init__(self, work_dir: str, attempt: int) -> None:
        self._here = Here(Path(work_dir), attempt)

    def look(self, elapsed: float) -> list[Silence]:
        """See `Here.look`."""
        return self._here.look(elapsed)

    def end(self, record: ProcessRecord) -> str | None:
        """See `Here.end`."""
        return self._here.end(record)


class Elsewhere:
    """The nodes of Ray's cluster besides the driver's.

    Args:
        document: Of the attempt.
        workers: How many it has at the most.
        clock: Seconds that rise, by which an actor is late.
    """

    def __init__(
        self, document: AttemptDocument, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._document, self._workers, self._clock = document, workers, clock
        self._missing = 0.0
        self._eyes: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._owed: dict[str, float] = {}
        self._seen: dict[str, list[Silence]] = {}
        self._asked_at: dict[str, float] = {}
        self._given_up_at: dict[str, float] = {}

    def look(self, elapsed: float, here: int) -> list[Silence]:
        """Every worker that is there on other nodes, as last heard.

        Args:
            elapsed: Seconds since the last look.
            here: How many are on the driver's machine.
        """
        self._missing = 0.0 if here >= self._workers else self._missing + elapsed
        if "ray" not in sys.modules or (self._missing < _PATIENCE_SECONDS and not self._eyes):
            return []
        import ray

        if not ray.is_initialized():
            return []
        if here < self._workers:
            self._open(ray)
        for node, eyes in self._eyes.items():
            self._owed[node] = self._owed.get(node, 0.0) + elapsed
            if node not in self._asked:
                self._asked[node] = eyes.look.remote(self._owed.pop(node))
                self._asked_at[node] = self._clock()
        self._take_answers(ray)
        self._give_up(ray)
        return [one for found in self._seen.values() for one in found]

    def end(self, record: ProcessRecord) -> str | None:
        """End a worker; see `Here.end`."""
        import ray

        for node, found in self._seen.items():
            if any(one.record == record for one in found) and node in self._eyes:
                try:
                    stack: str | None = ray.get(self._eyes[node].end.remote(record), timeout=_END_SECONDS)
                    return stack
                except ray.exceptions.RayError as error:
                    _log.warning("%s could not be ended: %r", record.words, error)
        return None

    def close(self) -> None:
        """Look no more."""
        if self._eyes:
            import ray

            for eyes in self._eyes.values():
                ray.kill(eyes)
        self._eyes.clear()

    def _open(self, ray: Any) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        own = ray.get_runtime_context().get_node_id()
        for node in ray.nodes():
            name = node["NodeID"]
            is_wanted = name != own and name not in self._eyes and not self._is_given_up(name)
            if node["Alive"] and is_wanted:
                there = NodeAffinitySchedulingStrategy(name, soft=False)
                # It needs nothing: the workers that it looks at may hold all that its node has.
                actor = ray.remote(Eyes).options(num_cpus=0, num_gpus=0, scheduling_strategy=there)
                self._eyes[name] = actor.remote(self._document.work_dir, self._document.attempt)

    def _take_answers(self, ray: Any) -> None:
        if not self._asked:
            return
        asked = list(self._asked.values())
        # Only one that has answered before is waited for, and only at the look at which it is asked.
        prompt = [
            answer
            for node, answer in self._asked.items()
            if node in self._seen and self._clock() - self._asked_at[node] < _ANSWER_SECONDS
        ]
        if prompt:
            ray.wait(prompt, num_returns=len(prompt), timeout=_ANSWER_SECONDS)
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=0)
        for node, answer in list(self._asked.items()):
            if answer not in ready:
                continue
            del self._asked[node]
            try:
                self._seen[node] = ray.get(answer)
            except ray.exceptions.RayError:  # its node is gone, or has no room: it is tried again
                self._forget(node)

    def _is_given_up(self, node: str) -> bool:
        at = self._given_up_at.get(node)
        return at is not None and self._clock() - at < _AGAIN_SECONDS

    def _give_up(self, ray: Any) -> None:
        """Wait no longer for an actor that Ray does not start, or whose node does not answer."""
        now = self._clock()
        for node in [name for name in self._asked if now - self._asked_at[name] >= _OVERDUE_SECONDS]:
            _log.warning("node %s has not answered for %.0f s: it is not looked at", node, _OVERDUE_SECONDS)
            ray.kill(self._eyes[node])
            self._forget(node)
            self._given_up_at[node] = now

    def _forget(self, node: str) -> None:
        for known in (self._eyes, self._seen, self._owed, self._asked):
            known.pop(node, None)  # type: ignore[attr-defined]

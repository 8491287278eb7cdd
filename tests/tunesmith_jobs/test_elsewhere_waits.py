"""A node whose actor Ray does not start, or that hangs, holds up no other, and is given up in the end."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from fake_plane import make_document

from tunesmith_jobs.elsewhere import Elsewhere


class FakeRay(ModuleType):
    """Ray as far as it is asked. The actor on each node of `nobody` never starts."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

    nobody: ClassVar[set[str]] = {"b"}

    def __init__(self) -> None:
        super().__init__("ray")
        self.options: list[dict[str, Any]] = []
        self.killed: list[str] = []
        self.asked: list[str] = []
        self.waited: dict[str, float] = {}

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True} for name in "abc"]

    def get_runtime_context(self) -> Any:
        class Context:
            def get_node_id(self) -> str:
                return "a"

        return Context()

    def remote(self, _: type) -> Any:
        ray = self

        class Actor:
            def options(self, **options: Any) -> "Actor":
                ray.options.append(options)
                self.node = options["scheduling_strategy"].node_id
                return self

            def remote(self, *_: Any) -> "Actor":
                return self

            @property
            def look(self) -> Any:
                class Look:
                    def remote(_, elapsed: float) -> str:  # noqa: N805
                        ray.asked.append(self.node)
                        return self.node

                return Look()

        return Actor()

    def wait(self, asked: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        ready = [node for node in asked if node not in self.nobody]
        if len(ready) < num_returns:
            for node in set(asked) - set(ready):
                self.waited[node] = self.waited.get(node, 0.0) + timeout
        return ready, [node for node in asked if node in self.nobody]

    def get(self, answer: str, timeout: float = 0) -> list[str]:
        return [f"seen on {answer}"]

    def kill(self, actor: Any) -> None:
        self.killed.append(actor.node)


def test_a_node_that_never_answers_holds_up_no_look_and_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = FakeRay()
    strategies = ModuleType("ray.util.scheduling_strategies")

    class NodeAffinitySchedulingStrategy:
        def __init__(self, node_id: str, soft: bool) -> None:
            self.node_id = node_id

    strategies.NodeAffinitySchedulingStrategy = NodeAffinitySchedulingStrategy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    seconds = [0.0]
    document = make_document(tmp_path, "-", spec={"model": "m", "train_file": "/t"})
    elsewhere = Elsewhere(document, clock=lambda: seconds[0])

    def look() -> list[Any]:
        seconds[0] += 2
        return elsewhere.look(2, here=0)

    for _ in range(100):
        found = look()
    assert found == ["seen on c"]
    assert [(one["num_cpus"], one["num_gpus"]) for one in ray.options] == [(0, 0), (0, 0)]
    assert (ray.killed, ray.waited) == (["b"], {"b": 0.0})
    assert ray.asked.count("c") > 90
    for _ in range(150):
        look()
    assert len(ray.options) == 3, "it is tried again, later"

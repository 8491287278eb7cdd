"""What a replica reserves on Ray, so that neither a training nor a chat waits for the other's end."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith_jobs.program import Needs
from tunesmith_serve.program import reservation
from tunesmith_serve.replica import engine_settings

NODES = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}]


@pytest.mark.parametrize(
    ("asked", "use_gpu", "spare", "expected"),
    [
        (None, False, 0, {"CPU": 0.0}),
        (None, False, 2, {"CPU": 2.0}),
        (None, True, 0, {"GPU": 1.0, "CPU": 0.0}),
        ({"CPU": 3.0}, False, 0, {"CPU": 3.0}),
        ({"CPU": 3.0}, False, 1, {"CPU": 1.0}),
    ],
)
def test_a_replica_reserves_what_a_training_leaves(
    asked: dict[str, float] | None, use_gpu: bool, spare: float, expected: dict[str, float]
) -> None:
    needs = Needs(per_worker=asked, is_beside=True)
    assert reservation(needs, use_gpu, NODES, spare) == expected


@pytest.mark.parametrize(
    ("given", "cpus", "expected"), [(None, 0.0, len(os.sched_getaffinity(0))), (None, 2.0, 2), (3, 0.0, 3)]
)
def test_threads_follow_the_processors(given: int | None, cpus: float, expected: int, tmp_path: Path) -> None:
    document: Any = SimpleNamespace(
        spec={"model_name_or_path": "m", "threads": given},
        model_uri="/m",
        training={},
        cache_dir="/c",
        task_id="t",
        file=None,
    )
    assert engine_settings(document, cpus, False, tmp_path).threads == expected

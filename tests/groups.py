"""Which tests stay together when several workers share them, and which come first. A pytest plugin.

Each module is one group: what its fixtures made serves all of it. Modules that share a part which takes long to start
(a live platform, Ray, MLflow, PostgreSQL, an S3 server) are one group, so that there is one of it. The longest come
first.
"""

from collections.abc import Generator
from typing import Any

import pytest

PARTS = {
    "warm": ("warm_home",),
    "live": ("live_home",),
    "ray": ("ray_of_jobs",),
    "mlflow": ("mlflow",),
    "s3": ("s3_uri",),
    "postgres": ("postgres_server",),
}
"""The session's fixtures that are worth sharing, by group."""
TOGETHER = {
    "warm": (
        "e2e/test_chat.py", "e2e/test_guide_runs.py", "e2e/test_life_of_a_task.py", "e2e/test_pipeline.py",
        "e2e/test_prepare.py", "e2e/test_studio.py", "e2e/test_studio_holds.py", "e2e/test_workers.py",
    ),
    "live": (
        "contract/test_jobs_contract.py", "e2e/test_cold_starts.py", "e2e/test_shell.py",
        "e2e/test_sockets.py", "nemesis/test_nemesis.py",
    ),
    "ray": (
        "tunesmith_jobs/test_entry.py", "tunesmith_jobs/test_two_nodes.py", "tunesmith_jobs/test_warm_kinds.py",
        "tunesmith_serve/test_on_ray.py",
    ),
    "mlflow": (
        "contract/test_tracking_contract.py", "contract/test_mirror_contract.py",
        "contract/test_mlflow_guard_contract.py",
    ),
    "s3": (
        "contract/test_packages_in_a_bucket.py", "contract/test_storage_contract.py",
        "tunesmith_jobs/test_activities.py",
        "tunesmith_jobs/test_evaluate_in_a_bucket.py", "tunesmith_jobs/test_stopping.py",
        "tunesmith_platform/test_data_sources.py", "tunesmith_platform/test_named_paths.py",
    ),
    "postgres": (
        "contract/test_database_contract.py", "contract/test_monitoring_contract.py",
        "contract/test_backup.py", "contract/test_backup_files.py", "contract/test_connections.py",
        "contract/test_garbage.py", "contract/test_many_submits.py", "contract/test_many_tasks.py",
        "contract/test_controller.py", "contract/test_leases.py", "contract/test_races.py",
        "contract/test_replicas.py", "contract/test_replicas_files.py", "contract/test_schema.py",
        "contract/test_quota_contract.py", "contract/test_rolling_replacement.py",
        "contract/test_series_contract.py", "contract/test_whole_task.py",
        "tunesmith_platform/test_nul.py", "tunesmith_platform/test_models_api.py",
    ),
}  # fmt: skip
"""Their modules: what is asked for by name while a test runs cannot be seen before."""
FIRST = ("warm", "live", "ray", "tunesmith_jobs/", "s3", "mlflow", "postgres")
"""What takes longest: the workers then end together."""
_GROUPS = {module: group for group, modules in TOGETHER.items() for module in modules}


def group_of(nodeid: str) -> str:
    """The group of a test."""
    module = nodeid.split("::", maxsplit=1)[0].removeprefix("tests/")
    return _GROUPS.get(module, module)


def place_of(group: str) -> int:
    """Where a group stands in the order."""
    return next((place for place, start in enumerate(FIRST) if group.startswith(start)), len(FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Bring the longest to the front where several workers share them.

    Raises:
        pytest.UsageError: A module shares a part and is not in its group.
    """
    for item in items:
        group = group_of(item.nodeid)
        for part, fixtures in PARTS.items():
            if part != group and set(fixtures) & set(getattr(item, "fixturenames", ())):
                raise pytest.UsageError(
                    f"{item.nodeid} asks for {fixtures}: add its module to `{part}` in groups.py"
                )
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(group_of(item.nodeid)))
    yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole groups.

    `--dist loadgroup` of xdist 3.8 writes the group into the id of a test, which pytest 9.2 no longer takes. And what
    a worker died of its `loadscope` hands to the next worker, which dies of it too, up to four times for each.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

        def remove_node(self, node: Any) -> str | None:
            """Hand on what a worker had before it; returns what it died of, which is not run again."""
            units = self.assigned_work[node]
            left = (
                (unit, nodeid) for unit in units.values() for nodeid, is_done in unit.items() if not is_done
            )
            unit, died_of = next(left, (None, None))
            if unit is not None:
                unit[died_of] = True
            self.assigned_work[node] = {
                scope: unit for scope, unit in units.items() if not all(unit.values())
            }
            super().remove_node(node)
            return died_of

        def _reschedule(self, node: Any) -> None:
            """Give nothing to a worker that has not collected: another one's death or start asks for all of them."""
            if node in self.registered_collections:
                super()._reschedule(node)

    return Groups(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name raw bytes by their place alone.

    gzip writes the time into them, and two workers that collected in different seconds had different tests.
    """
    return "bytes" if isinstance(val, bytes) else None

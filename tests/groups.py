"""Which tests stay together when several workers share them, and which come first. A pytest plugin.

Each module is one group: what its fixtures made serves all of it. Modules that share a part which takes long to start
(a live platform, MLflow, PostgreSQL, an S3 server) are one group, so that there is one of it. The longest come first.
"""

import pytest

PARTS = {
    "live": ("live_home", "mlflow"),
    "s3": ("s3_uri",),
    "postgres": ("postgres_server",),
}
"""The session's fixtures that are worth sharing, by group."""
UNSEEN = {
    "contract/test_storage_contract.py": "s3",
    "tunesmith_jobs/test_activities.py": "s3",
    "tunesmith_jobs/test_stopping.py": "s3",
    "contract/test_jobs_contract.py": "live",
    "contract/test_database_contract.py": "postgres",
    "contract/test_monitoring_contract.py": "postgres",
    "contract/test_quota_contract.py": "postgres",
    "contract/test_series_contract.py": "postgres",
}
"""Modules that ask for one by name while they run."""
FIRST = ("live", "nemesis/test_nemesis.py", "e2e/test_warm_runner.py", "tunesmith_jobs/", "s3", "postgres")
"""What takes longest: two workers then end together."""


def group_of(module: str, fixtures: set[str]) -> str:
    """The group of a module, by its path below `tests` and by what its tests ask for."""
    found = [group for group, names in PARTS.items() if fixtures & set(names)]
    return UNSEEN.get(module) or (found[0] if found else module)


def place_of(group: str) -> int:
    """Where a group stands in the order."""
    return next((place for place, start in enumerate(FIRST) if group.startswith(start)), len(FIRST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say to which group each test belongs, and bring the longest to the front where there are several workers."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    root = config.rootpath / "tests"
    modules: dict[str, set[str]] = {}
    for item in items:
        modules.setdefault(str(item.path.relative_to(root)), set()).update(getattr(item, "fixturenames", ()))
    groups = {module: group_of(module, fixtures) for module, fixtures in modules.items()}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[str(item.path.relative_to(root))]))
    if getattr(config, "workerinput", None) is not None:
        items.sort(key=lambda item: place_of(groups[str(item.path.relative_to(root))]))

"""The check before a start: what each part answers when it is well, ill, and dead."""

import threading
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith.environment import CheckStatus, Environment
from tunesmith_platform import packages
from tunesmith_platform.backends.protocols import Cluster
from tunesmith_platform.system import environment as module

GIB = 2**30


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with memory and disk, whatever the tests run on."""
    set_free(monkeypatch, 100 * GIB)
    memory = type("Memory", (), {"available": 32 * GIB, "total": 64 * GIB})
    monkeypatch.setattr(module.psutil, "virtual_memory", memory)


def set_free(patch: pytest.MonkeyPatch, free: int) -> None:
    usage = type("Usage", (), {"free": free})
    patch.setattr(module.shutil, "disk_usage", lambda _: usage())


def look(client: TestClient, **query: Any) -> dict[str, Any]:
    reply = client.get("/v1/system/environment", params=query)
    assert reply.status_code == 200, reply.text
    found = Environment.model_validate(reply.json())
    assert found.ok == all(check.status is not CheckStatus.FAILED for check in found.checks)
    for check in found.checks:
        assert check.label.zh
        assert check.found
        if check.status is not CheckStatus.OK:
            assert check.cure, f"{check.name} names no cure"
            assert check.cure.zh
    return {check.name: check for check in found.checks}


def test_all_is_well(plane: Plane, client: TestClient) -> None:
    found = look(client, disk_bytes=GIB)
    assert {name: check.status for name, check in found.items()} == dict.fromkeys(module.LABELS, "ok")
    assert "1 node, 2 CPUs, no GPU, 8.0 GiB" in found["ray"].found
    assert "100.0 GiB free" in found["disk"].found
    assert "1.0 GiB forecast" in found["disk"].found
    assert "3.17.2" in found["mlflow"].found
    assert list(plane.home.files.iterdir()) == [], "the probe is gone"


def test_dead_parts_are_named_and_hang_nobody(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.2)
    forever = threading.Event()
    monkeypatch.setattr(plane.services.environment, "_storage", forever.wait)
    plane.jobs.is_away = plane.tracking.is_away = True
    try:
        for _ in range(6):
            found = look(client)
            assert (found["ray"].status, found["storage"].status) == ("failed", "failed")
            assert found["mlflow"].status == "warning", "training goes on without it"
            assert found["gpu"].status == "warning", "what Ray has not said is not known, whatever is here"
            assert found["database"].status == "ok"
            assert "did not answer within" in found["storage"].found
        hanging = [thread for thread in threading.enumerate() if thread.name == "look-storage"]
        assert len(hanging) == 4, "a part that hangs is not asked for ever"
    finally:
        forever.set()
    for thread in hanging:
        thread.join(5)
    monkeypatch.undo()
    assert look(client)["storage"].status == "ok"


def test_storage_is_written_for_real(
    plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.home.files.rmdir()
    plane.home.files.write_text("a file where the folder was")
    assert look(client)["storage"].status == "failed"


@pytest.mark.parametrize(
    ("free", "wanted", "status"),
    [(10, 11, "failed"), (10, 9, "warning"), (10, 5, "ok"), (1, None, "warning"), (10, None, "ok")],
)
def test_the_disk_for_the_forecast(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, free: int, wanted: int | None, status: str
) -> None:
    set_free(monkeypatch, free * GIB)
    query = {} if wanted is None else {"disk_bytes": wanted * GIB}
    assert look(client, **query)["disk"].status == status


@pytest.mark.parametrize(
    ("device", "gpus", "torch", "status"),
    [
        ("gpu", 0, "2.13.0+cpu", "failed"),
        ("auto", 0, "2.13.0+cpu", "ok"),
        ("cpu", 0, "2.13.0+cpu", "ok"),
        ("gpu", 1, "2.13.0+cu130", "ok"),
        ("gpu", 1, "2.13.0+cpu", "failed"),
        ("auto", 1, "2.13.0+cpu", "warning"),
    ],
)
def test_a_gpu_where_one_was_chosen(
    plane: Plane,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    gpus: int,
    torch: str,
    status: str,
) -> None:
    plane.jobs.has = Cluster(version="2.60.0", nodes=1, cpus=2, gpus=gpus, memory_bytes=GIB)
    monkeypatch.setattr(module, "version", lambda name: torch if name == "torch" else "2.60.0")
    assert look(client, device=device)["gpu"].status == status


def test_versions_that_do_not_fit(plane: Plane, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.jobs.has = Cluster(version="2.9.0", nodes=1, cpus=2, gpus=0, memory_bytes=GIB)
    real = packages.importlib.metadata.version
    monkeypatch.setattr(
        packages.importlib.metadata, "version", lambda name: "0.1" if name == "uvicorn" else real(name)
    )
    found = look(client)
    assert found["ray"].status == "warning"
    assert (found["packages"].status, "uvicorn 0.1, needed" in found["packages"].found) == ("failed", True)


def test_a_cluster_without_cpus(plane: Plane, client: TestClient) -> None:
    plane.jobs.has = Cluster(version="2.60.0", nodes=0, cpus=0, gpus=0, memory_bytes=0)
    found = look(client, device="gpu")
    assert (found["ray"].status, found["gpu"].status) == ("failed", "warning")


def test_bad_questions(client: TestClient) -> None:
    assert client.get("/v1/system/environment", params={"device": "tpu"}).status_code == 422
    assert client.get("/v1/system/environment", params={"disk_bytes": -1}).status_code == 422

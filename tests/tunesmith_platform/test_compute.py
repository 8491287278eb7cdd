"""What the cluster can do is asked of the cluster: the machine of the API may have more, or less."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient
from model_files import make_model_folder

from tunesmith.errors import ErrorResponse, Unavailable
from tunesmith.estimate import EstimateView
from tunesmith.home import Home
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.app import create_app
from tunesmith_platform.backends import compute as module
from tunesmith_platform.backends.compute import Compute, ComputeService, compute_of
from tunesmith_platform.backends.protocols import Cluster
from tunesmith_platform.estimates.measure import key_of
from tunesmith_platform.estimates.shapes import precision_of
from tunesmith_platform.hardware import Gpu, Hardware
from tunesmith_platform.tasks.inputs import TrainInputs
from tunesmith_platform.testing.fakes import FakeJobs

GIB = 2**30
CPU = Hardware(cpu_name="a CPU", cpus=2, cpu_flags=frozenset({"avx2"}), gpus=())
NEW_CPU = CPU.model_copy(update={"cpu_flags": frozenset({"amx_bf16"})})
A100 = Gpu(name="A100", memory_bytes=40 * GIB, compute_capability=8.0)
T4 = Gpu(name="T4", memory_bytes=16 * GIB, compute_capability=7.5)
WITH_A100, WITH_T4 = (CPU.model_copy(update={"gpus": (gpu,)}) for gpu in (A100, T4))
HERE, THERE = frozenset({"127.0.0.1"}), frozenset({"198.51.100.7", "198.51.100.8"})
RAY = "http://127.0.0.1:8265"


def cluster(gpus: float, addresses: frozenset[str] = THERE) -> Cluster:
    return Cluster("2.60.0", len(addresses), 16, gpus, 64 * GIB, addresses)


class World(Plane):
    """A control plane that looks at what it is given, on a machine and with a cluster of one's choice."""

    def __init__(self, home: Home, root: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(home, allowed_roots=[str(root)])
        self.services.database.close()
        self.app = create_app(self.settings, self.jobs, self.tracking)  # with its own look at what is given
        self.services = self.app.state.services
        self.patch = patch
        self.model = make_model_folder(root / "model")
        self.rows = root / "rows.jsonl"
        turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ember."}]
        self.rows.write_text(json.dumps({"messages": turns}) + "\n")
        patch.setattr(module, "_FRESH_SECONDS", -1.0)

    def body(self, **spec: Any) -> dict[str, Any]:
        given = {"model_name_or_path": str(self.model), "train_file": str(self.rows)}
        return {"spec": given | {"target_modules": ["all-linear"]} | spec}

    def on(self, machine: Hardware, has: Cluster | None) -> None:
        """Run the API on a machine; None for a Ray that does not answer."""
        self.patch.setattr(module, "hardware", lambda: machine)
        self.jobs.is_away = has is None
        self.jobs.has = has or self.jobs.has


@pytest.fixture
def world(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "allowed").mkdir()
    world = World(home, tmp_path / "allowed", monkeypatch)
    yield world
    world.services.estimates.close()
    world.services.database.close()


@pytest.fixture
def plane(world: World) -> World:
    """What `client` talks to."""
    return world


NEEDS_GPU: list[dict[str, Any]] = [
    {"device": "gpu"},
    {"fp16": True},
    {"optim": "adalomo", "use_lora": False, "gradient_accumulation_steps": 1},
]


@pytest.mark.parametrize("spec", [*NEEDS_GPU, {"bf16": True}], ids=str)
def test_an_api_without_a_gpu_takes_what_a_cluster_with_one_can_do(
    world: World, client: TestClient, spec: dict[str, Any]
) -> None:
    world.on(CPU, cluster(gpus=4))
    reply = client.post("/v1/tasks", json=world.body(**spec))
    assert reply.status_code == 201, reply.text


@pytest.mark.parametrize("spec", NEEDS_GPU, ids=str)
def test_an_api_with_a_gpu_refuses_what_a_cluster_without_one_cannot_do(
    world: World, client: TestClient, spec: dict[str, Any]
) -> None:
    world.on(WITH_A100, cluster(gpus=0))
    reply = client.post("/v1/tasks", json=world.body(**spec))
    assert reply.status_code == 422, reply.text
    assert "GPU" in ErrorResponse.model_validate(reply.json()).error.problems[0].message


@pytest.mark.parametrize("spec", [*NEEDS_GPU, {"bf16": True}], ids=str)
@pytest.mark.parametrize("url", [RAY, "http://198.51.100.7:8265"])
def test_what_nobody_knows_refuses_nothing(
    world: World, client: TestClient, spec: dict[str, Any], url: str
) -> None:
    world.services.compute._ray_url = url
    world.on(NEW_CPU, None)
    reply = client.post("/v1/tasks", json=world.body(**spec))
    assert reply.status_code == 201, reply.text


def estimate(world: World, client: TestClient, **spec: Any) -> EstimateView:
    reply = client.post("/v1/tasks:estimate", json=world.body(**spec))
    assert reply.status_code == 200, reply.text
    return EstimateView.model_validate(reply.json())


def test_an_estimate_is_of_the_cluster_and_does_not_say_what_it_does_not_know(
    world: World, client: TestClient
) -> None:
    world.on(CPU, cluster(gpus=4))
    found = estimate(world, client)
    assert (found.hardware.device, found.hardware.name) == ("gpu", "a GPU of the cluster")
    assert (found.hardware.memory_bytes, found.fits, found.recommended) == (None, None, {})
    assert {setting.fits for setting in found.settings} == {None}
    assert [notice.field for notice in found.notices] == ["device"]
    assert "not known" in found.time.source

    world.on(WITH_A100, cluster(gpus=0))
    found = estimate(world, client)
    assert (found.hardware.device, found.hardware.name) == ("cpu", "the cluster's processors")
    assert (found.hardware.memory_bytes, found.fits) == (None, None)


def test_an_estimate_knows_the_machine_that_is_all_of_the_cluster(world: World, client: TestClient) -> None:
    world.on(WITH_A100, cluster(1, HERE))
    found = estimate(world, client)
    assert (found.hardware.name, found.hardware.memory_bytes, found.fits) == ("A100", 40 * GIB, True)
    assert not found.notices
    world.on(WITH_A100, cluster(0, HERE))
    found = estimate(world, client)
    assert (found.hardware.name, found.hardware.device) == ("a CPU", "cpu")
    assert found.hardware.memory_bytes


# --- what is known of what


@pytest.mark.parametrize(
    ("machine", "has", "device", "gpu", "bf16"),
    [
        (WITH_A100, cluster(1, HERE), "auto", True, True),
        (WITH_T4, cluster(1, HERE), "auto", True, False),
        (WITH_T4, cluster(1, HERE), "cpu", False, False),
        (NEW_CPU, cluster(0, HERE), "auto", False, True),
        (CPU, cluster(0, HERE), "auto", False, False),
        (CPU, cluster(1, HERE), "auto", True, None),  # Ray was told of a GPU that this machine cannot name
        (WITH_A100, cluster(0, HERE), "auto", False, False),  # Ray gives none of them out
        (CPU, cluster(4), "auto", True, None),
        (NEW_CPU, cluster(4), "cpu", False, None),
        (WITH_A100, cluster(0), "auto", False, None),
        (CPU, cluster(0, HERE | THERE), "auto", False, None),
        (CPU, None, "auto", None, None),
        (NEW_CPU, None, "cpu", False, True),
    ],
)
def test_what_is_known_of_bf16_and_gpus(
    monkeypatch: pytest.MonkeyPatch,
    machine: Hardware,
    has: Cluster | None,
    device: str,
    gpu: bool | None,
    bf16: bool | None,
) -> None:
    monkeypatch.setattr(module, "hardware", lambda: machine)
    found = compute_of(has, RAY)
    assert (found.uses_gpu(device), found.supports_bf16(device)) == (gpu, bf16)


@pytest.mark.parametrize(
    ("has", "url", "is_here"),
    [
        (cluster(0, HERE), RAY, True),
        (cluster(0, HERE), "http://ray.example:8265", True),
        (cluster(0, THERE), RAY, False),  # through a tunnel
        (cluster(0, HERE | THERE), RAY, False),
        (None, RAY, True),
        (None, "http://ray.example:8265", False),
    ],
)
def test_whose_machine_it_is(has: Cluster | None, url: str, is_here: bool) -> None:
    assert (compute_of(has, url).machine is not None) is is_here


def test_an_unknown_gpu_computes_as_those_of_today() -> None:
    spec = TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t.jsonl"})
    assert precision_of(spec, Compute(cluster(4)), "gpu") == "bf16"
    assert precision_of(spec, Compute(cluster(1, HERE), WITH_T4), "gpu") == "fp16"
    assert precision_of(spec, Compute(cluster(0)), "cpu") == "fp32"


def test_a_measurement_is_of_the_cluster_that_made_it() -> None:
    spec = TrainSpec.read({"model_name_or_path": "/m", "train_file": "/t.jsonl"})
    inputs = TrainInputs(model_path="/m", train_path="/t.jsonl")
    seen = [
        Compute(cluster(0, HERE), CPU),
        Compute(cluster(1, HERE), WITH_T4),
        Compute(cluster(1, HERE), CPU),
        Compute(cluster(0)),
        Compute(cluster(4)),
    ]
    keys = [key_of(spec, inputs, compute) for compute in seen]
    assert len(set(keys)) == len(keys)
    # Whether Ray answers just now changes nothing where all of it is this machine.
    assert key_of(spec, inputs, Compute(None, CPU)) == keys[0]
    assert key_of(spec, inputs, Compute(None, WITH_T4)) == keys[1]


# --- asking


class Counted(FakeJobs):
    """A Ray that counts how often it is asked, and answers when it is let."""

    asked = 0
    gate: threading.Event | None = None

    def cluster(self) -> Cluster:
        self.asked += 1
        if self.gate is not None:
            assert self.gate.wait(60)
        return super().cluster()


def test_many_looks_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Counted()
    service = ComputeService(jobs, RAY)
    assert {service.look().has_gpu for _ in range(20)} == {False}
    assert jobs.asked == 1
    jobs.has = dataclasses.replace(jobs.has, gpus=1)
    assert service.look().has_gpu is False
    monkeypatch.setattr(module, "_FRESH_SECONDS", -1.0)
    assert service.look().has_gpu is True


def test_a_ray_that_went_away_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRESH_SECONDS", -1.0)
    jobs = Counted()
    service = ComputeService(jobs, RAY)
    jobs.is_away = True
    assert service.look().has_gpu is None
    with pytest.raises(Unavailable):
        jobs.cluster()
    jobs.is_away = False
    assert service.look().has_gpu is False
    jobs.is_away = True
    assert service.look().has_gpu is False


def test_a_ray_that_names_no_node_yet_has_not_said_that_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the real one answers for some seconds after its start."""
    monkeypatch.setattr(module, "_FRESH_SECONDS", -1.0)
    jobs = Counted()
    service = ComputeService(jobs, RAY)
    one = jobs.has
    jobs.has = dataclasses.replace(one, nodes=0, cpus=0, memory_bytes=0, addresses=frozenset())
    assert service.look().has_gpu is None
    jobs.has = dataclasses.replace(one, gpus=1)
    assert service.look().has_gpu is True


def test_a_ray_that_hangs_is_asked_by_one_thread_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FRESH_SECONDS", -1.0)
    jobs = Counted()
    jobs.gate = threading.Event()
    service = ComputeService(jobs, RAY, wait_seconds=0.0)
    try:
        assert {service.look().has_gpu for _ in range(5)} == {None}
        assert jobs.asked == 1
    finally:
        jobs.gate.set()
    assert service._answered.wait(60)
    assert service.look().has_gpu is False

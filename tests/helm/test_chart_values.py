"""Tier 1 of the chart's tests: which values it takes, what they name, and what an upgrade may change."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import (
    CHART,
    HERE,
    SETS,
    helm,
    immutable,
    objects,
    rendered,
    run_helm,
    values_of,
)
from pod_rules import pods

import tunesmith

RELEASED = HERE / "released.json"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["platform.replicas=0"], "/platform/replicas"),
        (["platfrom.replicas=2"], "platfrom"),
        (["storage.kind=nfs"], "/storage/kind"),
        (["settings.max_concurrent_jobs=many"], "/settings/max_concurrent_jobs"),
        (["settings.max_concurent_jobs=2"], "max_concurent_jobs"),
        (["settings.port=9000"], "'port' not allowed"),
        (["settings.smtp_password=secret"], "smtp_password"),
        (["settings.oidc_client_secret=secret"], "oidc_client_secret"),
        (["state.size=lots"], "/state/size"),
        (["images.digests.tunesmith-platform=latest"], "tunesmith-platform"),
        (["ray.workers.gpu.image=x"], "/ray/workers/gpu"),
        (["networkPolicy.kubernetesApi.cidr=api"], "/networkPolicy/kubernetesApi/cidr"),
        (["secretEnvironment[0].name=lower"], "/secretEnvironment/0"),
        (
            ["secretFiles[0].name=A", "secretFiles[0].secret=s", "secretFiles[0].key=../k"],
            "/secretFiles/0/key",
        ),
        (["platform.resources.limits.memory=much"], "/platform/resources/limits/memory"),
    ],
)
def test_wrong_values_are_refused_by_their_place(wrong: list[str], says: str) -> None:
    given = [word for each in wrong for word in ("--set", each)]
    done = run_helm("template", "t", str(CHART), *values_of("smallest"), *given)
    assert done.returncode != 0
    assert says in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ("images.registry=", "images.registry"),
        ("postgresql.bundled=false,postgresql.external.secret=s", "postgresql.external.host"),
        ("postgresql.bundled=false,postgresql.external.host=h", "postgresql.external.secret"),
        ("storage.kind=external", "storage.external.secret"),
        (
            "secretFiles[0].name=TUNESMITH_DATABASE_URL,secretFiles[0].secret=s,secretFiles[0].key=k",
            "postgresql.bundled",
        ),
        (
            "postgresql.bundled=false,secretFiles[0].name=TUNESMITH_DATABASE_URL,secretFiles[0].secret=s,"
            "secretFiles[0].key=k",
            "postgresql.external.host",
        ),
        ("ingress.enabled=true", "ingress.host"),
        ("ray.create=false,ray.external.serveHost=h", "ray.external.dashboardUrl"),
        ("ray.create=false,ray.external.dashboardUrl=http://h", "ray.external.serveHost"),
        ("networkPolicy.jobsMayLeave=false", "networkPolicy.kubernetesApi.cidr"),
        ("ray.workers.cpu=null", "ray.workers"),
    ],
)
def test_what_is_missing_is_asked_for_by_its_name(given: str, lacks: str) -> None:
    done = run_helm("template", "t", str(CHART), *values_of("smallest"), "--set", given)
    assert done.returncode != 0
    assert f"{lacks} is " in done.stderr, done.stderr


def test_the_smallest_values_name_the_registry_alone() -> None:
    assert values_of("smallest") == ["--set", "images.registry=registry.example"]
    assert run_helm("template", "t", str(CHART)).returncode != 0


@pytest.mark.parametrize("name", SETS)
def test_every_image_is_ours_and_behind_the_one_prefix(name: str) -> None:
    images = {
        container["image"]
        for _, pod in pods(objects(rendered(name)))
        for container in [*pod.get("initContainers", []), *pod["containers"]]
        if "image" in container
    }
    folder = CHART.parents[1] / "infra" / "images"
    known = {
        f"registry.example/tunesmith-{file.name.removesuffix('.Dockerfile')}"
        for file in folder.glob("*.Dockerfile")
    }
    assert {image.partition(":")[0].replace("-cpu", "").replace("-cuda", "") for image in images} <= known
    assert {image.partition(":")[2] for image in images} == {tunesmith.__version__}


def test_a_digest_wins_over_the_tag() -> None:
    digest = f"sha256:{'a' * 64}"
    done = run_helm(
        "template",
        "t",
        str(CHART),
        *values_of("smallest"),
        "--set",
        f"images.digests.tunesmith-mlflow={digest}",
    )
    assert f"image: registry.example/tunesmith-mlflow@{digest}" in done.stdout


def test_mlflow_answers_every_name_of_its_service() -> None:
    (mlflow,) = [pod for place, pod in pods(objects(rendered("gpu-cluster"))) if place.endswith("-mlflow")]
    said = mlflow["containers"][0]["args"]
    for host in ("tunesmith-mlflow", "tunesmith-mlflow.ml.svc", "tunesmith-mlflow.ml.svc.cluster.local"):
        assert f"--allowed-host={host}" in said
    assert "--public-url=https://mlflow.example" in said


def test_ray_serve_and_mlflow_are_called_by_the_platform_alone() -> None:
    policies = {
        each["metadata"]["name"]: each
        for each in objects(rendered("smallest"))
        if each["kind"] == "NetworkPolicy"
    }

    def callers(name: str, port: int) -> set[str]:
        found = set()
        for rule in policies[name]["spec"]["ingress"]:
            if any(each["port"] == port for each in rule.get("ports", [{"port": port}])):
                for peer in rule["from"]:
                    if "podSelector" in peer:
                        found |= set(peer["podSelector"]["matchExpressions"][0]["values"])
                    else:
                        found.add(next(iter(peer["namespaceSelector"]["matchLabels"].values())))
        return found

    ray = {"ray-head", "ray-worker"}
    assert callers("tunesmith-ray", 8000) == {"platform", "loops"} | ray
    assert callers("tunesmith-ray", 8265) == {"platform", "loops", "kuberay-system"} | ray
    assert callers("tunesmith-ray", 6379) == ray
    assert callers("tunesmith-mlflow", 5000) == {"platform", "loops"}
    assert callers("tunesmith-postgres", 5432) == {"platform", "loops", "migrate", "mlflow"}
    assert callers("tunesmith-platform", 8080) == {"loops", "ingress-nginx", "monitoring"} | ray
    assert policies["tunesmith-closed"]["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in policies["tunesmith-closed"]["spec"]


def broken(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What an upgrade would be refused for, and what holds data and would be lost of sight."""
    keeps = ("StatefulSet", "PersistentVolumeClaim")
    gone = [name for name in before if name not in now and name.startswith(keeps)]
    return gone + [name for name in before if name in now and before[name] != now[name]]


@pytest.mark.parametrize("name", SETS)
def test_an_upgrade_from_the_chart_before_changes_nothing_that_cannot_be_changed(name: str) -> None:
    """`released.json` holds it of the last release; `make release` writes it."""
    released = json.loads(RELEASED.read_text())
    assert broken(released["sets"].get(name, {}), immutable(objects(rendered(name)))) == []


def test_a_change_that_no_upgrade_can_make_is_found() -> None:
    now = immutable(objects(rendered("smallest")))
    assert len(now) > 5
    assert broken(now, now) == []
    other = copy.deepcopy(now)
    other["Deployment/tunesmith"]["selector"] = {"matchLabels": {"app": "tunesmith"}}
    del other["StatefulSet/tunesmith-postgres"]
    assert broken(now, other) == ["StatefulSet/tunesmith-postgres", "Deployment/tunesmith"]


def test_chart_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (tunesmith.__version__, tunesmith.__version__)


def test_helm_is_kept_and_not_fetched_twice() -> None:
    assert Path(helm()).stat().st_size > 10**7
    assert not list(Path(helm()).parent.glob("*.whl"))

"""The steps and the report of tier 3, with a stand-in for kubectl and for helm: what each answer of a cluster comes to.

It proves nothing of a cluster: that is what the script is for.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "scripts" / "chart_check.py"
_spec = importlib.util.spec_from_file_location("chart_check", _SCRIPT)
assert _spec is not None
assert _spec.loader is not None
chart_check: Any = importlib.util.module_from_spec(_spec)
sys.modules["chart_check"] = chart_check
_spec.loader.exec_module(chart_check)
Said = chart_check.Said

_GOOD = {
    "kubectl version": Said(0, '{"serverVersion": {"gitVersion": "v1.36.1"}}', ""),
    "kubectl get crd": Said(0, "customresourcedefinition/rayclusters.ray.io", ""),
    "kubectl apply": Said(0, "service/tunesmith serverside-applied (server dry run)\n" * 3, ""),
    "kubectl auth can-i": Said(1, "no\n", ""),
    "kubectl auth can-i patch rayclusters": Said(0, "yes\n", ""),
    "kubectl auth can-i get rayclusters": Said(0, "yes\n", ""),
    "kubectl auth can-i list pods": Said(0, "yes\n", ""),
    "kubectl get deployments": Said(
        0, "configmap/kube-root-ca.crt\nsecret/tunesmith-secrets\npersistentvolumeclaim/tunesmith-state\n", ""
    ),
    "helm template": Said(0, "kind: Service", ""),
}


class Cluster:
    """Answers as told, by the longest beginning of a call, and remembers what it was asked."""

    def __init__(self, **changes: Any) -> None:
        self.answers = _GOOD | {key.replace("_", " "): value for key, value in changes.items()}
        self.calls: list[str] = []
        self.given: list[str] = []

    def call(self, program: str) -> Any:
        def answer(words: Sequence[str], given: str) -> Any:
            line = " ".join([program, *words])
            self.calls.append(line)
            self.given.append(given)
            found = [key for key in self.answers if line.startswith(key)]
            return self.answers[max(found, key=len)] if found else Said(0, "", "")

        return answer

    def report(self, *, install: bool = False) -> dict[str, Any]:
        check = chart_check.Check(
            self.call("kubectl"),
            self.call("helm"),
            "try-1",
            {"smallest": ["--set", "a=b"], "gpu": ["-f", "gpu.yaml"]},
        )
        return {row.step: row for row in chart_check.run(check, ["-f", "mine.yaml"] if install else None, 60)}


def failed(report: dict[str, Any]) -> list[str]:
    return [step for step, row in report.items() if row.verdict == "FAILED"]


def test_a_cluster_that_takes_all_of_it() -> None:
    cluster = Cluster()
    report = cluster.report(install=True)
    assert failed(report) == []
    assert report["the cluster answers"].detail == "v1.36.1"
    assert report["smallest: every object is admitted, without a warning"].detail == "3 objects"
    assert "persistentvolumeclaim/tunesmith-state" in report["nothing is left but what holds data"].detail
    applied = [call for call in cluster.calls if call.startswith("kubectl apply")]
    assert len(applied) == 2
    assert all("--server-side --dry-run=server --validate=strict" in call for call in applied)
    namespace = json.loads(next(text for text in cluster.given if '"Namespace"' in text))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    kinds = [call.split()[1] for call in cluster.calls if call.startswith("helm") and "template" not in call]
    assert kinds == ["install", "upgrade", "rollback", "uninstall"]
    assert cluster.calls[-1].startswith("kubectl delete namespace try-1")


def test_without_being_asked_to_nothing_is_installed() -> None:
    cluster = Cluster()
    report = cluster.report()
    assert report["install, upgrade, rollback"].verdict == "skipped"
    assert report["`tunesmith-ray` may do nothing that it must not"].verdict == "ok"
    assert not [call for call in cluster.calls if call.startswith(("helm install", "helm upgrade"))]
    stored = [call for call in cluster.calls if "apply" in call and "--dry-run=server" not in call]
    assert stored == []


@pytest.mark.parametrize(
    ("changes", "fails", "says"),
    [
        (
            {"kubectl_version": Said(1, "", "Unable to connect to the server")},
            ["the cluster answers"],
            "Unable",
        ),
        ({"kubectl_get_crd": Said(1, "", "not found")}, ["KubeRay's definitions are there"], "not found"),
        (
            {"kubectl_create": Said(1, "", "forbidden")},
            ["a namespace that enforces `restricted`"],
            "forbidden",
        ),
        (
            {"kubectl_apply": Said(0, "", 'Warning: would violate PodSecurity "restricted:latest"')},
            [f"{name}: every object is admitted, without a warning" for name in ("smallest", "gpu")],
            "would violate",
        ),
        (
            {"kubectl_apply": Said(1, "", 'strict decoding error: unknown field "spec.replica"')},
            [f"{name}: every object is admitted, without a warning" for name in ("smallest", "gpu")],
            "spec.replica",
        ),
        (
            {"kubectl_auth_can-i_get_secrets": Said(0, "yes\n", "")},
            [
                f"`tunesmith-{part}` may do nothing that it must not"
                for part in ("platform", "loops", "mlflow", "ray", "data")
            ],
            "get secrets",
        ),
        ({"helm_upgrade": Said(1, "", "UPGRADE FAILED: timed out")}, ["it upgrades"], "timed out"),
        (
            {"kubectl_auth_can-i_patch_rayclusters": Said(1, "no\n", "")},
            ["Ray's autoscaler may do what it needs"],
            "patch rayclusters",
        ),
        (
            {"kubectl_get_deployments": Said(0, "deployment.apps/tunesmith\n", "")},
            ["nothing is left but what holds data"],
            "deployment.apps/tunesmith",
        ),
    ],
)
def test_each_thing_that_fails_is_named(changes: dict[str, Any], fails: list[str], says: str) -> None:
    cluster = Cluster(**changes)
    report = cluster.report(install=True)
    assert failed(report) == fails
    assert says in report[fails[0]].detail
    is_made = "a namespace that enforces `restricted`" in report and "kubectl create" not in cluster.answers
    assert cluster.calls[-1].startswith("kubectl delete namespace") is is_made


def test_a_cluster_without_prometheus_operator_is_no_fault_of_the_chart() -> None:
    said = (
        'error: resource mapping not found for name: "tunesmith" namespace: "" from "STDIN": no matches for kind '
        '"ServiceMonitor" in version "monitoring.coreos.com/v1"\nensure CRDs are installed first\n'
    )
    report = Cluster(kubectl_apply=Said(1, "service/a serverside-applied\n", said)).report()
    assert failed(report) == []
    wrong = Cluster(kubectl_apply=Said(1, "", said + "error: unknown field")).report()
    assert len(failed(wrong)) == 2


def test_the_script_by_itself_prints_a_table_and_ends_with_its_verdict(tmp_path: Path) -> None:
    stand_in = tmp_path / "kubectl"
    stand_in.write_text("#!/bin/sh\necho 'Unable to connect to the server' >&2\nexit 1\n")
    stand_in.chmod(0o755)
    config = tmp_path / "config"
    config.touch()
    command = [sys.executable, str(_SCRIPT), "--kubectl", str(stand_in), "--helm", "none", "--kubeconfig"]
    done = subprocess.run([*command, str(config)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        1,
        "FAILED   the cluster answers  Unable to connect to the server\n",
    )
    done = subprocess.run([*command, str(tmp_path / "none")], check=False, capture_output=True, text=True)
    assert (done.returncode, "there is no file" in done.stderr) == (2, True)

"""Tier 1 of the chart's tests: what is rendered is what is meant, and what Kubernetes and KubeRay take.

It proves nothing of a running cluster: that a server admits it and that it works is asked of a real one by
`infra/scripts/chart_check.py`.
"""

import copy
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import (
    CHART,
    HERE,
    KUBERNETES,
    SETS,
    kubernetes,
    objects,
    raycluster_schema,
    rendered,
    run_helm,
    values_of,
)
from pod_rules import faults, pods

from tunesmith_platform.secret_settings import secrets_of
from tunesmith_platform.settings import Settings

GOLDEN = HERE / "golden"
_WRITE = "TUNESMITH_WRITE_GOLDEN"
"""Set it to write the manifests that are expected, and look at the difference."""
_SCRIPT = CHART.parents[1] / "infra" / "scripts" / "chart_schema.py"


def _schema_script() -> Any:
    spec = importlib.util.spec_from_file_location("chart_schema", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SETS)
def test_helm_has_nothing_to_say(name: str) -> None:
    done = run_helm("lint", "--strict", str(CHART), *values_of(name))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SETS)
def test_what_is_rendered_is_what_was_looked_at(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get(_WRITE):
        file.write_text(rendered(name))
    assert rendered(name) == file.read_text(), f"Look at the difference, then set {_WRITE}=1 to write it."


@pytest.mark.parametrize("name", SETS)
def test_kubernetes_and_kuberay_take_every_field(name: str) -> None:
    """A server leaves out a field that it does not know without a word; here each is refused."""
    foreign = set()
    for found in objects(rendered(name)):
        if found["kind"] == "RayCluster":
            said = [
                f"{list(error.absolute_path)}: {error.message}"
                for error in raycluster_schema().iter_errors(found)
            ]
            assert said == []
        elif (
            "/" in found["apiVersion"]
            and found["apiVersion"].split("/")[0].count(".") > 1
            and not found["apiVersion"].split("/")[0].endswith(".k8s.io")
        ):
            foreign.add(found["kind"])
        else:
            kubernetes().validate(found, KUBERNETES, strict=True)
    assert foreign <= {"ServiceMonitor", "PrometheusRule"}, "nobody checked these"


def test_a_field_that_kuberay_does_not_know_is_found() -> None:
    (cluster,) = [found for found in objects(rendered("smallest")) if found["kind"] == "RayCluster"]
    assert not list(raycluster_schema().iter_errors(cluster))
    wrong = copy.deepcopy(cluster)
    wrong["spec"]["authOption"] = {"mode": "token"}
    wrong["spec"]["authOptions"]["mode"] = "password"
    del wrong["spec"]["headGroupSpec"]["template"]
    assert len(list(raycluster_schema().iter_errors(wrong))) == 3


@pytest.mark.parametrize("name", SETS)
def test_every_pod_is_restricted(name: str) -> None:
    found = {place: said for place, pod in pods(objects(rendered(name))) if (said := faults(pod))}
    assert found == {}


def test_a_pod_that_is_not_restricted_is_found() -> None:
    good = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "a", "emptyDir": {}}],
        "containers": [
            {
                "name": "c",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
            }
        ],
    }
    assert faults(good) == []
    changes: list[tuple[list[Any], Any]] = [
        (["hostNetwork"], True),
        (["automountServiceAccountToken"], True),
        (["securityContext", "runAsUser"], 0),
        (["securityContext", "runAsNonRoot"], False),
        (["securityContext", "seccompProfile"], {"type": "Unconfined"}),
        (["volumes", 0], {"name": "a", "hostPath": {"path": "/"}}),
        (["containers", 0, "securityContext", "allowPrivilegeEscalation"], True),
        (["containers", 0, "securityContext", "privileged"], True),
        (["containers", 0, "securityContext", "readOnlyRootFilesystem"], False),
        (["containers", 0, "securityContext", "capabilities"], {}),
        (["containers", 0, "securityContext", "capabilities"], {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        (["containers", 0, "ports"], [{"containerPort": 1, "hostPort": 1}]),
        (["containers", 0, "resources"], {}),
    ]
    for path, value in changes:
        bad = copy.deepcopy(good)
        place: Any = bad
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert len(faults(bad)) == 1, (path, faults(bad))


@pytest.mark.parametrize("name", SETS)
def test_only_the_autoscaler_sees_a_token_of_kubernetes(name: str) -> None:
    found = objects(rendered(name))
    accounts = [each for each in found if each["kind"] == "ServiceAccount"]
    assert accounts
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    holders = [
        f"{place}: {container['name']}"
        for place, pod in pods(found)
        for container in [*pod.get("initContainers", []), *pod["containers"]]
        if any(mount["mountPath"] == token for mount in container.get("volumeMounts", []))
    ]
    (cluster,) = [each for each in found if each["kind"] == "RayCluster"]
    assert len(holders) == int("autoscalerOptions" in cluster["spec"]), holders
    assert all(holder.endswith("autoscaler: autoscaler") for holder in holders)


@pytest.mark.parametrize("name", SETS)
def test_every_variable_that_is_set_is_a_setting_of_ours(name: str) -> None:
    known = {f"TUNESMITH_{field.upper()}" for field in Settings.model_fields}
    known |= {f"TUNESMITH_{field.upper()}_FILE" for field in secrets_of(Settings)}
    seen: set[str] = set()
    for place, pod in pods(objects(rendered(name))):
        for container in pod["containers"]:
            names = [each["name"] for each in container.get("env", [])]
            assert len(names) == len(set(names)), (place, "a variable twice")
            seen |= {each for each in names if each.startswith("TUNESMITH_")}
    assert len(seen) > 15
    assert seen <= known


@pytest.mark.parametrize("name", SETS)
def test_what_is_set_is_taken_by_the_settings_themselves(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The very values, read as a pod reads them; a mounted file of a Secret is one of ours."""
    (tmp_path / "TUNESMITH_DATABASE_URL").write_text("postgresql+psycopg://u@h/tunesmith\n")
    for secret in ("TUNESMITH_OIDC_CLIENT_SECRET", "TUNESMITH_SMTP_PASSWORD"):
        (tmp_path / secret).write_text(f"of {secret}\n")
    for place, pod in pods(objects(rendered(name))):
        for container in pod["containers"]:
            given = {each["name"]: each.get("value", "secret") for each in container.get("env", [])}
            if "TUNESMITH_HOME" not in given:
                continue
            with monkeypatch.context() as patched:
                for variable in [each for each in os.environ if each.startswith("TUNESMITH_")]:
                    patched.delenv(variable)
                for variable, value in given.items():
                    if variable.startswith("TUNESMITH_"):
                        patched.setenv(variable, value.replace("/etc/tunesmith/given", str(tmp_path)))
                settings = Settings()
            assert settings.database_url.startswith("postgresql+psycopg://"), place
            assert "secret" not in settings.database_url
            if "TUNESMITH_OIDC_CLIENT_SECRET_FILE" in given:
                assert settings.oidc_client_secret.get_secret_value() == "of TUNESMITH_OIDC_CLIENT_SECRET"
            if "TUNESMITH_API_URL" in given:
                assert not settings.run_loops
                assert settings.serve_bind == "0.0.0.0"
                assert settings.serve_host != settings.serve_bind


def test_every_setting_can_be_set_and_only_what_the_chart_chooses_cannot() -> None:
    script = _schema_script()
    offered = set(script.schema()["properties"]["settings"]["properties"])
    assert offered == set(Settings.model_fields) - script.CHOSEN - script.SECRET
    set_by_the_chart = {
        each["name"].removeprefix("TUNESMITH_").lower()
        for _, pod in pods(objects(rendered("smallest")))
        for container in pod["containers"]
        for each in container.get("env", [])
        if each["name"].startswith("TUNESMITH_")
    }
    assert set_by_the_chart <= script.CHOSEN


def test_the_schema_is_fresh() -> None:
    script = _schema_script()
    assert script.SCHEMA.read_text() == script.written(), "Run `make reference`."
    assert script.ALERTS.read_text() == script.RULES.read_text(), "Run `make reference`."


def test_the_alert_rules_are_the_ones_that_there_are() -> None:
    """They find the platform by the job's name, which the monitor takes from a label of the service."""
    found = objects(rendered("gpu-cluster"))
    (rule,) = [each for each in found if each["kind"] == "PrometheusRule"]
    (monitor,) = [each for each in found if each["kind"] == "ServiceMonitor"]
    assert rule["spec"] == yaml.safe_load(_schema_script().RULES.read_text())
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [
        each for each in found if each["kind"] == "Service" and chosen <= each["metadata"]["labels"].items()
    ]
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "tunesmith"
    assert 'job="tunesmith"' in str(rule)


def test_secrets_as_files_stand_in_no_environment_and_reach_whom_they_are_for() -> None:
    """Each variable names a file that its container has mounted of the Secret, and no variable holds a value of one."""
    reached: dict[str, set[str]] = {}
    for place, pod in pods(objects(rendered("secret-files"))):
        mounted = {
            f"/etc/tunesmith/given/{item['path']}": source["secret"]["name"]
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            if "secret" in source
            for item in source["secret"]["items"]
        }
        for container in pod["containers"]:
            named = {each["name"]: each for each in container.get("env", [])}
            assert not [each for each in named if "valueFrom" in named[each]], place
            assert not {"PGPASSWORD", "TUNESMITH_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"} & set(named), place
            files = {value["value"] for value in named.values() if "/given/" in value.get("value", "")}
            if container["name"] == "autoscaler":  # KubeRay's own, beside the head's
                continue
            assert files == set(mounted), place
            assert bool(files) == any(
                each["mountPath"] == "/etc/tunesmith/given" and each["readOnly"]
                for each in container["volumeMounts"]
            )
            reached[place.removesuffix(", head")] = {file.rpartition("/")[2] for file in files}
    jobs = {"AWS_SHARED_CREDENTIALS", "HF_TOKEN"}
    settings = {"TUNESMITH_DATABASE_URL", "TUNESMITH_OIDC_CLIENT_SECRET", "TUNESMITH_SMTP_PASSWORD"}
    expected = {
        "Deployment": {"tunesmith": jobs | settings, "tunesmith-loops": jobs | settings,
                       "tunesmith-mlflow": {"AWS_SHARED_CREDENTIALS", "MLFLOW_DATABASE_URL"}},
        "Job": {"tunesmith-migrate": {"TUNESMITH_DATABASE_URL"}},
        "RayCluster": {"tunesmith-ray": jobs, "tunesmith-ray, cpu": jobs},
    }  # fmt: skip
    assert reached == {
        f"{kind} {one}": names for kind, ones in expected.items() for one, names in ones.items()
    }


def test_no_job_gets_a_secret_setting_of_the_platform() -> None:
    """Jobs run their users' code: of `secretEnvironment` they get what is theirs."""
    given = {0: "TUNESMITH_OIDC_CLIENT_SECRET", 1: "HF_TOKEN"}
    words = [
        word
        for number, name in given.items()
        for field, value in (("name", name), ("secret", "own"), ("key", "it"))
        for word in ("--set", f"secretEnvironment[{number}].{field}={value}")
    ]
    done = run_helm("template", "t", str(CHART), *values_of("smallest"), *words)
    assert done.returncode == 0, done.stderr
    seen: dict[str, set[str]] = {}
    for each in yaml.safe_load_all(done.stdout):
        if each:
            names = {name for name in given.values() if f"'{name}'" in str(each)}
            seen.setdefault(each["kind"], set()).update(names)
    assert seen["RayCluster"] == {"HF_TOKEN"}
    assert seen["Deployment"] == set(given.values())

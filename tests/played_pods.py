"""Pods that the chart renders, played by `podman kube play`: what of them is this machine's, and how they run.

Kept as rendered: image, commands, variables, user, rights, init containers, read-only root, mounts. Replaced: addresses
and keys, claims and secrets by folders, and what is of no use without Kubernetes (probes, limits, spreading). No test
itself.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from containers import PREFIX, limits
from waiting import wait_until

_NO_USE = (
    "serviceAccountName",
    "topologySpreadConstraints",
    "affinity",
    "tolerations",
    "nodeSelector",
    "imagePullSecrets",
)
_OF_A_CLUSTER = ("resources", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports")


@dataclass(frozen=True)
class Here:
    """What of a pod is this machine's."""

    texts: Mapping[str, str]
    """What stands in a manifest, and what stands for it here, the longest first."""
    values: Mapping[str, str]
    """Variables by their names, ports among them."""
    keys: Mapping[str, str]
    """The keys of secrets."""
    folders: Mapping[str, Path]
    """What lies in a volume, by the volume's name; podman gives no group the others, as `fsGroup` would."""


def pod(name: str, spec: Mapping[str, Any], here: Here) -> dict[str, Any]:
    """A pod's manifest as this machine plays it."""
    made = {key: value for key, value in spec.items() if key not in _NO_USE}
    made["hostNetwork"] = True
    made["volumes"] = [_volume(volume, here) for volume in spec["volumes"] if "projected" not in volume]
    for group in ("initContainers", "containers"):
        if group in spec:
            made[group] = [_container(container, here) for container in spec[group]]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": made}


def _volume(volume: Mapping[str, Any], here: Here) -> dict[str, Any]:
    if "emptyDir" in volume and volume["name"] not in here.folders:
        return {"name": volume["name"], "emptyDir": {}}
    place = here.folders[volume["name"]]
    return {
        "name": volume["name"],
        "hostPath": {"path": str(place), "type": "Directory" if place.is_dir() else "File"},
    }


def _container(container: Mapping[str, Any], here: Here) -> dict[str, Any]:
    made = {key: value for key, value in container.items() if key not in _OF_A_CLUSTER}
    made["image"] = f"{PREFIX}/{container['image'].rpartition('/')[2]}"
    made["imagePullPolicy"] = "Never"
    for key in ("command", "args"):
        if key in container:
            made[key] = [_told(word, here) for word in container[key]]
    made["env"] = [{"name": one["name"], "value": _value(one, here)} for one in container.get("env", [])]
    made["volumeMounts"] = [
        {key: value for key, value in mount.items() if key != "subPath"}
        for mount in container.get("volumeMounts", [])
    ]
    return made


def _value(variable: Mapping[str, Any], here: Here) -> str:
    if variable["name"] in here.values:
        return here.values[variable["name"]]
    if "valueFrom" in variable:
        return here.keys[variable["valueFrom"]["secretKeyRef"]["key"]]
    return _told(variable.get("value", ""), here)


def _told(text: str, here: Here) -> str:
    for there, own in here.texts.items():
        text = text.replace(there, own)
    return text


@contextlib.contextmanager
def played(manifest: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """A pod while it runs; what comes before its containers, each in a pod of its own, to its end.

    Debian's podman (4.3.1) removes such a container as soon as it was started, and now and then finds it still running.

    Yields:
        The name of its first container.
    """
    name, spec = manifest["metadata"]["name"], dict(manifest["spec"])
    for number, before in enumerate(spec.pop("initContainers", [])):
        own = {"containers": [before], "restartPolicy": "Never"}
        first = {**manifest, "metadata": {"name": f"{name}-before-{number}"}, "spec": spec | own}
        with _playing(first, folder) as container:
            wait_until(lambda container=container: exit_code(container) is not None, 60, before["name"])
            assert exit_code(container) == 0, before["name"]
    with _playing({**manifest, "spec": spec}, folder) as container:
        yield container


@contextlib.contextmanager
def _playing(manifest: Mapping[str, Any], folder: Path) -> Iterator[str]:
    settings = folder / "containers.conf"
    words = [word.removeprefix("--ulimit=") for word in limits()]
    settings.write_text(
        "[containers]\ndefault_ulimits = [" + ", ".join(f'"{word}"' for word in words) + "]\n"
    )
    environment = os.environ | {"CONTAINERS_CONF": str(settings)}
    name = manifest["metadata"]["name"]
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(dict(manifest), sort_keys=False))
    command = ["podman", "kube", "play", "--network=host", str(file)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        yield f"{name}-{manifest['spec']['containers'][0]['name']}"
    finally:
        own = _volumes(manifest)
        subprocess.run(["podman", "pod", "rm", "-f", "-t", "5", name], check=False, capture_output=True)
        subprocess.run(["podman", "volume", "rm", "-f", *own], check=False, capture_output=True)


def _volumes(manifest: Mapping[str, Any]) -> list[str]:
    """The volumes that podman made for a pod's containers, which outlive them otherwise."""
    form = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
    names = [f"{manifest['metadata']['name']}-{each['name']}" for each in manifest["spec"]["containers"]]
    done = subprocess.run(
        ["podman", "inspect", "--format", form, *names], check=False, capture_output=True, text=True
    )
    return done.stdout.split()


def exit_code(container: str) -> int | None:
    """What a container ended with; None while it runs."""
    form = "{{.State.Running}} {{.State.ExitCode}}"
    done = subprocess.run(
        ["podman", "inspect", "--format", form, container], check=True, capture_output=True, text=True
    )
    running, code = done.stdout.split()
    return None if running == "true" else int(code)

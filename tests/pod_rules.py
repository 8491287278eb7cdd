"""What the rule `restricted` of PodSecurity asks of a pod, and what this project asks besides. No test itself.

Source: the Pod Security Standards of Kubernetes, profile Restricted, as of 1.35.
"""

from collections.abc import Iterator
from typing import Any

_VOLUMES = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
    }
)  # fmt: skip
_PROFILES = ("RuntimeDefault", "Localhost")


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's specification, by the object and the place in it."""
    for found in objects:
        name = f"{found['kind']} {found['metadata']['name']}"
        spec = found.get("spec", {})
        if found["kind"] == "RayCluster":
            yield f"{name}, head", spec["headGroupSpec"]["template"]["spec"]
            for group in spec["workerGroupSpecs"]:
                yield f"{name}, {group['groupName']}", group["template"]["spec"]
            if "autoscalerOptions" in spec:
                # KubeRay puts it as a container into the head's pod, with these settings.
                head = spec["headGroupSpec"]["template"]["spec"]
                yield (
                    f"{name}, autoscaler",
                    head | {"containers": [{"name": "autoscaler", **spec["autoscalerOptions"]}]},
                )
        elif "template" in spec:
            yield name, spec["template"]["spec"]


def faults(pod: dict[str, Any]) -> list[str]:
    """What of a pod breaks a rule."""
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    whole = pod.get("securityContext", {})
    for volume in pod.get("volumes", []):
        found += [f"volume {volume['name']}: {kind}" for kind in volume if kind not in {"name", *_VOLUMES}]
    if pod.get("automountServiceAccountToken") is not False:
        found.append("a token of Kubernetes is mounted into every container")
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        found += [f"{container['name']}: {fault}" for fault in _of_container(container, whole)]
    return found


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = pod | own
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if own.get("privileged"):
        yield "privileged"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in _PROFILES:
        yield "no seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    # Ours.
    if own.get("readOnlyRootFilesystem") is not True:
        yield "its root file system can be written"
    resources = container.get("resources", {})
    if "memory" not in resources.get("limits", {}) or "cpu" not in resources.get("requests", {}):
        yield "no requests, or no limit of memory"

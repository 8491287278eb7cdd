"""Write what of the chart comes from elsewhere: the schema of its values, and the alert rules, which a chart must hold.

The schema is of `values.yaml`, of the settings, and of what only this file says.

A value's type is its default's; what else holds stands in `SAID`, by the value's place. Run by `make reference`.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from tunesmith_platform.settings import Settings

CHART = Path(__file__).resolve().parents[2] / "helm" / "tunesmith"
SCHEMA = CHART / "values.schema.json"
ALERTS = CHART / "alerts.yml"
RULES = CHART.parents[1] / "infra" / "alerts" / "tunesmith.yml"
CHOSEN = frozenset(
    {
        "home", "host", "port", "api_url", "public_url", "database_url", "migrate_at_start", "storage_uri",
        "models_dir", "work_dir", "outputs_dir", "ray_url", "mlflow_url", "mlflow_public_url", "mlflow_token_file",
        "api_key_file", "ray_token_file", "report_secret_file", "allowed_roots_file", "job_python", "serve_host",
        "serve_port", "serve_bind", "run_loops", "controller_port", "metrics_open_to_loopback",
    }
)  # fmt: skip
"""Settings that the chart chooses."""
SECRET = frozenset({"oidc_client_secret", "smtp_password"})
"""Settings that come by `secretEnvironment` or `secretFiles`, for values are no place for secrets."""

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"
_URL = r"^(https?://[^\s/]+[^\s]*)?$"
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_AMOUNTS = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "string", "pattern": _QUANTITY}]},
}
_RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"requests": _AMOUNTS, "limits": _AMOUNTS},
}
_TOLERATIONS = {"type": "array", "items": {"type": "object"}}
_NAMES = {"type": "array", "items": {"type": "string", "pattern": _NAME}}
_COUNT = {"type": "integer", "minimum": 0}
_ONE = {"type": "integer", "minimum": 1}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_WORKERS = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {
        "^[a-z]([-a-z0-9]*[a-z0-9])?$": {
            "type": "object",
            "additionalProperties": False,
            "required": ["image", "replicas", "minReplicas", "maxReplicas", "resources"],
            "properties": {
                "image": {"type": "string", "minLength": 1},
                "replicas": _COUNT,
                "minReplicas": _COUNT,
                "maxReplicas": _ONE,
                "resources": _RESOURCES,
                "nodeSelector": _TEXTS,
                "tolerations": _TOLERATIONS,
            },
        }
    },
}


def _items(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": required,
            "properties": properties,
        },
    }


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*values]}


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


_SECRETS = _items(
    ["name", "secret", "key"],
    name=_text("^[A-Z_][A-Z0-9_]*$"),
    secret=_text(_NAME),
    key=_text(r"^[-._a-zA-Z0-9]+$"),
)
SAID: dict[str, Any] = {
    "images.registry": _text(r"^[^\s@]*[^\s@/:]/?$|^$"),
    "images.digests": {"type": "object", "additionalProperties": _text("^sha256:[0-9a-f]{64}$")},
    "images.pullPolicy": _one_of("Always", "IfNotPresent", "Never"),
    "images.pullSecrets": _NAMES,
    "platform.replicas": _ONE,
    "platform.publicUrl": _text(_URL),
    "platform.apiUrl": _text(_URL),
    "loops.replicas": _ONE,
    "secretEnvironment": _SECRETS,
    "secretFiles": _SECRETS,
    "mlflow.publicUrl": _text(_URL),
    "mlflow.allowedHosts": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "state.size": _text(_QUANTITY),
    "state.accessMode": _one_of("ReadWriteMany", "ReadWriteOnce"),
    "storage.kind": _one_of("bundled", "external", "volume"),
    "storage.bucket": _text(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
    "storage.external.endpoint": _text(_URL),
    "storage.bundled.size": _text(_QUANTITY),
    "postgresql.external.port": _PORT,
    "postgresql.external.sslMode": _one_of(
        "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
    ),
    "postgresql.size": _text(_QUANTITY),
    "ray.external.dashboardUrl": _text(_URL),
    "ray.autoscaler.idleTimeoutSeconds": _ONE,
    "ray.faultTolerance.redisAddress": _text(r"^(rediss?://[^\s]+)?$"),
    "ray.head.cpus": _COUNT,
    "ray.workers": _WORKERS,
    "ray.scratch": _text(_QUANTITY),
    "ray.sharedMemory": _text(_QUANTITY),
    "ray.environment": _TEXTS,
    "ingress.annotations": _TEXTS,
    "networkPolicy.jobsMayCall": _items(["cidr"], cidr=_text(r"^[0-9a-fA-F.:]+/[0-9]+$"), port=_PORT),
    "networkPolicy.kubernetesApi.cidr": _text(r"^([0-9a-fA-F.:]+/[0-9]+)?$"),
    "networkPolicy.kubernetesApi.port": _PORT,
    "monitoring.interval": _text("^[0-9]+(s|m)$"),
    "monitoring.labels": _TEXTS,
}
"""What a default does not say of its value, by its place."""
_EVERYWHERE = {"resources": _RESOURCES, "nodeSelector": _TEXTS, "tolerations": _TOLERATIONS}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


def _of(value: Any, place: str) -> dict[str, Any]:
    name = place.rpartition(".")[2]
    if place in SAID:
        return SAID[place]
    if place == "settings":
        return settings()
    if name in _EVERYWHERE:
        return _EVERYWHERE[name]
    if isinstance(value, dict):
        below = {key: _of(given, f"{place}.{key}" if place else key) for key, given in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": below}
    return {"type": _TYPES[type(value)]}


def settings() -> dict[str, Any]:
    """The platform's settings that a user of the chart may set, as the platform itself describes them."""
    schema = Settings.model_json_schema()
    definitions = schema.get("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolved(definitions[value["$ref"].rpartition("/")[2]])
        return {key: resolved(each) for key, each in value.items() if key not in ("title", "format")}

    chosen = {
        name: resolved(said)
        for name, said in schema["properties"].items()
        if name not in CHOSEN and name not in SECRET
    }
    return {"type": "object", "additionalProperties": False, "properties": chosen}


def schema() -> dict[str, Any]:
    """The whole schema."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    # What a parent chart hands to every chart below it.
    whole = _of(values | {"global": {}}, "")
    whole["properties"]["global"] = {"type": "object"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart tunesmith",
    } | whole


def written() -> str:
    """The file's text."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(written())
    ALERTS.write_text(RULES.read_text())
    print(f"Wrote {SCHEMA.name} and {ALERTS.name}.")

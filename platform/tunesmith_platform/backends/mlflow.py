"""MLflow's tracking server over its REST API. A slow or absent one delays the mirror and nothing else.

A LoggedModel per checkpoint points to the files where they lie; nothing is copied.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tunesmith.errors import Unavailable
from tunesmith.job import read_secret
from tunesmith.tls import trust
from tunesmith_platform.backends.protocols import LoggedModel, Point, Refused, RowsUsed, Run, RunGone

TASK_TAG = "tunesmith.task_id"
_BATCH = 1000  # metrics that one log-batch call takes
_PARAM_BATCH = 100
_PARAM_CHARACTERS = 6000
_TIMEOUT = 30.0
"""A server that takes ten seconds to answer gets everything too, and is not asked again for what it is doing."""
_VERSION_TIMEOUT = 3.0
_MOST_DOUBLE = 100
_DATASET_CHARACTERS, _DIGEST_CHARACTERS = 500, 36
"""What its database takes of a data set's name and digest."""


def authorization_of(secret: str) -> str:
    """The header that shows a secret: `user:password` as MLflow's own sign-in takes it, else a token (RFC 6750)."""
    if is_password(secret):
        return f"Basic {base64.b64encode(secret.encode()).decode()}"
    return f"Bearer {secret}"


def is_password(secret: str) -> bool:
    """Whether a secret is `user:password`: in a token no colon can stand."""
    return ":" in secret


class MlflowTracking:
    """One MLflow server.

    Args:
        url: Where it answers.
        token_file: Holds the token that the check before it wants, or `user:password`; read at each call, so that it
            may be replaced.
        timeout: Seconds that an answer may take.
    """

    def __init__(self, url: str, token_file: Path | None = None, timeout: float = _TIMEOUT) -> None:
        self._token_file = token_file
        self._url = url.rstrip("/")
        # No proxy of the environment: each call carries the token, and the runs are nobody else's business.
        self._client = httpx.Client(
            base_url=f"{self._url}/api/2.0/mlflow",
            timeout=httpx.Timeout(timeout, connect=2),
            trust_env=False,
            verify=trust(),
            auth=self._with_token,
        )

    def _with_token(self, request: httpx.Request) -> httpx.Request:
        if self._token_file is not None:
            try:
                request.headers["Authorization"] = authorization_of(read_secret(self._token_file))
            except OSError as error:
                raise Unavailable(f"MLflow's token cannot be read: {error.strerror}.") from error
        return request

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            reply = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unavailable(f"MLflow does not answer: {type(error).__name__}.") from error
        if reply.status_code != httpx.codes.OK:
            raise _refusal(reply)
        try:
            answer: dict[str, Any] = reply.json() if reply.content else {}
        except ValueError as error:  # somebody else answers in its place
            raise Unavailable("MLflow's answer is no JSON.") from error
        return answer

    def _tell(self, run_id: str, path: str, **body: Any) -> dict[str, Any]:
        """Say something of a run. One that somebody deleted comes back: its task is still there."""
        try:
            return self._call("POST", path, json={"run_id": run_id, **body})
        except _Status as error:
            if error.http_status == httpx.codes.NOT_FOUND and error.mlflow_code == "RESOURCE_DOES_NOT_EXIST":
                raise RunGone(f"MLflow does not know run `{run_id}`.") from error
            if "must be in the 'active' state" not in error.text:
                raise
        self._call("POST", "/runs/restore", json={"run_id": run_id})
        return self._call("POST", path, json={"run_id": run_id, **body})

    def _experiment(self, project: str) -> str:
        try:
            found = self._call("GET", "/experiments/get-by-name", params={"experiment_name": project})
            experiment = found["experiment"]
            if experiment["lifecycle_stage"] == "deleted":
                self._call(
                    "POST", "/experiments/restore", json={"experiment_id": experiment["experiment_id"]}
                )
            return str(experiment["experiment_id"])
        except _Status as error:
            if error.http_status != httpx.codes.NOT_FOUND:
                raise
        try:
            return str(self._call("POST", "/experiments/create", json={"name": project})["experiment_id"])
        except _Status:  # another process made it in between
            found = self._call("GET", "/experiments/get-by-name", params={"experiment_name": project})
            return str(found["experiment"]["experiment_id"])

    def ensure_run(self, project: str, task_id: str, name: str, start_time_ms: int) -> Run:
        """See `Tracking.ensure_run`."""
        # "Default" is MLflow's own first experiment.
        experiment_id = self._experiment("Default" if project == "default" else project)
        found = self._call(
            "POST",
            "/runs/search",
            json={
                "experiment_ids": [experiment_id],
                "filter": f"tags.`{TASK_TAG}` = '{task_id}'",
                "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
                "max_results": _MOST_DOUBLE,
            },
        ).get("runs", [])
        for double in found[1:]:  # a call that timed out was carried out after all
            self._call("POST", "/runs/delete", json={"run_id": double["info"]["run_id"]})
        info = (
            found[0]["info"]
            if found
            else self._call(
                "POST",
                "/runs/create",
                json={
                    "experiment_id": experiment_id,
                    "run_name": name,
                    "start_time": start_time_ms,
                    "tags": [{"key": TASK_TAG, "value": task_id}],
                },
            )["run"]["info"]
        )
        return Run(experiment_id, info["run_id"], info["artifact_uri"])

    def knows(self, run_id: str) -> bool:
        """See `Tracking.knows`."""
        try:
            self._call("GET", "/runs/get", params={"run_id": run_id})
        except _Status as error:
            if error.mlflow_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return True

    def describe(self, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
        """See `Tracking.describe`."""
        items = [{"key": key, "value": value[:_PARAM_CHARACTERS]} for key, value in params.items()]
        for start in range(0, max(1, len(items)), _PARAM_BATCH):
            self._tell(
                run_id,
                "/runs/log-batch",
                params=items[start : start + _PARAM_BATCH],
                tags=[{"key": k, "value": v[:_PARAM_CHARACTERS]} for k, v in tags.items()]
                if start == 0
                else [],
            )

    def log_points(self, run_id: str, points: list[Point]) -> None:
        """See `Tracking.log_points`. MLflow keeps one row a (key, time, step, value): the same point twice is one."""
        for start in range(0, len(points), _BATCH):
            batch = [_metric(point) for point in points[start : start + _BATCH]]
            self._tell(run_id, "/runs/log-batch", metrics=batch)

    def log_rows(self, run_id: str, used: Sequence[RowsUsed]) -> None:
        """See `Tracking.log_rows`. MLflow keeps one data set a (name, digest) of an experiment."""
        if used:
            self._tell(run_id, "/runs/log-inputs", datasets=[_dataset(one) for one in used])

    def log_model(self, run: Run, model: LoggedModel, points: list[Point]) -> None:
        """See `Tracking.log_model`."""
        found = self._call(
            "POST",
            "/logged-models/search",
            json={
                "experiment_ids": [run.experiment_id],
                "filter": f"source_run_id = '{run.run_id}' AND name = '{model.name}'",
                "max_results": 1,
            },
        ).get("models")
        if found:
            made = found[0]["info"]
        else:
            made = self._call(
                "POST",
                "/logged-models",
                json={
                    "experiment_id": run.experiment_id,
                    "name": model.name,
                    "source_run_id": run.run_id,
                    "model_type": model.model_type,
                    "tags": [
                        {"key": key, "value": value}
                        for key, value in {**model.tags, "tunesmith.uri": model.uri}.items()
                    ],
                },
            )["model"]["info"]
            # Without this the run's own page would not list it.
            output = {"model_id": made["model_id"], "step": model.step}
            self._tell(run.run_id, "/runs/outputs", models=[output])
        if points:
            metrics = [_metric(point) | {"model_id": made["model_id"]} for point in points]
            self._tell(run.run_id, "/runs/log-batch", metrics=metrics)
        # Readiness last: a model that is ready is complete.
        self._call(
            "PATCH",
            f"/logged-models/{made['model_id']}",
            json={"model_id": made["model_id"], "status": "LOGGED_MODEL_READY"},
        )

    def finish(self, run_id: str, status: str, end_time_ms: int | None) -> None:
        """See `Tracking.finish`."""
        ended = {} if end_time_ms is None else {"end_time": end_time_ms}
        self._tell(run_id, "/runs/update", status=status, **ended)

    def version(self) -> str:
        """See `Tracking.version`."""
        try:
            reply = self._client.get(f"{self._url}/version", timeout=_VERSION_TIMEOUT)
        except httpx.HTTPError as error:
            raise Unavailable(f"MLflow does not answer: {type(error).__name__}.") from error
        if reply.status_code != httpx.codes.OK:
            raise _refusal(reply)
        return reply.text.strip()[:40]


class _Status(Refused):
    """MLflow answered that it cannot do what was asked."""

    def __init__(self, http_status: int, text: str, code: str) -> None:
        super().__init__(f"MLflow answered HTTP {http_status}.", details={"body": text})
        self.http_status, self.text, self.mlflow_code = http_status, text, code


def _refusal(reply: httpx.Response) -> Unavailable:
    """What an answer that is no success means: of its own trouble (5xx) MLflow may recover."""
    text = reply.text[:500]
    if reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(f"MLflow answered HTTP {reply.status_code}.", details={"body": text})
    try:
        code = str(reply.json()["error_code"])
    except (ValueError, KeyError, TypeError):
        code = ""
    return _Status(reply.status_code, text, code)


def _dataset(used: RowsUsed) -> dict[str, Any]:
    profile = {} if used.rows is None else {"profile": json.dumps({"num_rows": used.rows})}
    return {
        "tags": [{"key": "mlflow.data.context", "value": used.context}],
        "dataset": {
            "name": used.name[:_DATASET_CHARACTERS],
            "digest": used.digest[:_DIGEST_CHARACTERS],
            "source_type": "local" if "://" not in used.source else used.source.partition("://")[0],
            "source": json.dumps({"uri": used.source}),
            **profile,
        },
    }


def _metric(point: Point) -> dict[str, Any]:
    return {"key": point.name, "value": point.value, "step": point.step, "timestamp": point.timestamp_ms}

"""Ray Jobs over its REST API (Ray's dashboard), so that the control plane needs no Ray in its process.

A job is over for us only when its processes are gone: after Ray calls it ended, its actors (the training workers)
must be dead too.
"""

import re
import shlex
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tunesmith.errors import Unavailable
from tunesmith.job import read_secret
from tunesmith.plain_text import plain_text
from tunesmith.secret_values import hide, known_secrets
from tunesmith.tls import trust
from tunesmith.versions import numbers
from tunesmith_platform.backends.protocols import ATTEMPT, Cluster, JobStatus, Observation
from tunesmith_platform.packages import pinned

_LEAVING_SECONDS = 20.0
_LOG_FOLLOWS = ", last available logs"
"""Where Ray's word on a job goes over into the job's log, which we read apart."""
_OF_RAY_SERVE = ("ServeController", "ProxyActor", "ServeReplica")
"""Actors that count as the job's that started Ray Serve, and serve the other chats after it: each removes its own."""
_RAYS_OWN_LINE = re.compile(r"Running entrypoint for job \S+: .*\n?")
"""Ray's first line in a job's log. It is buffered while the job already writes to the same file, so that it may well
stand behind the last words of a job that ends at once (ray 2.60, `JobSupervisor._exec_entrypoint`)."""


class RayJobs:
    """Submits and watches jobs on one Ray cluster.

    Args:
        url: Ray's dashboard.
        token_file: Holds the cluster's token; read at each call, so that it may be replaced.
        python: The interpreter on the nodes.
        driver_cpus: CPUs that a job's driver reserves.
    """

    def __init__(self, url: str, token_file: Path, python: str = "python", driver_cpus: float = 0) -> None:
        # No proxy of the environment: each call carries the token.
        self._client = httpx.Client(
            base_url=url, timeout=httpx.Timeout(30, connect=3), trust_env=False, verify=trust()
        )
        self._token_file = token_file
        self._python = python
        self._driver_cpus = driver_cpus
        self._ended_at: dict[str, float] = {}

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {}
        if self._token_file.exists():
            headers["Authorization"] = f"Bearer {read_secret(self._token_file)}"
        try:
            return self._client.request(method, path, headers=headers, **options)
        except httpx.HTTPError as error:
            raise Unavailable(f"Ray does not answer: {type(error).__name__}.") from error

    def submit(
        self, job_id: str, document_uri: str, program: str = ATTEMPT, *, can_be_warm: bool = False
    ) -> None:
        """See `Jobs.submit`."""
        self._require_version()
        reply = self._call(
            "POST",
            "/api/jobs/",
            json={
                "submission_id": job_id,
                # Ray takes a command line; its parts are quoted, and all are ours.
                "entrypoint": shlex.join([self._python, "-m", program, document_uri]),
                "entrypoint_num_cpus": self._driver_cpus,
                "metadata": {"tunesmith": "task"},
            },
        )
        if reply.status_code != httpx.codes.OK and self.observe(job_id).status in (
            JobStatus.ABSENT,
            JobStatus.UNREACHABLE,
        ):
            raise Unavailable(
                f"Ray did not take the job: HTTP {reply.status_code}.", details={"body": reply.text[-500:]}
            )

    def _require_version(self) -> None:
        """See that the cluster runs the Ray that jobs were made for: others end them in ways that say nothing of it.

        Raises:
            Unavailable: It runs another one; says which.
        """
        reply = self._call("GET", "/api/version")
        found = str(reply.json().get("ray_version", "")) if reply.status_code == httpx.codes.OK else ""
        made_for = pinned("ray")
        seen, wanted = numbers(found), numbers(made_for)
        if seen is not None and wanted is not None and seen[:2] != wanted[:2]:
            raise Unavailable(
                f"The cluster runs Ray {found}; this version of Tunesmith is made for {made_for}.",
                hint=f"Install `ray=={made_for}` on every node, and start the cluster again.",
            )

    def observe(self, job_id: str) -> Observation:
        """See `Jobs.observe`."""
        try:
            reply = self._call("GET", f"/api/jobs/{job_id}")
            if reply.status_code == httpx.codes.NOT_FOUND:
                return Observation(JobStatus.ABSENT)
            if reply.status_code != httpx.codes.OK:
                return Observation(JobStatus.UNREACHABLE, f"Ray answered HTTP {reply.status_code}.")
            facts = reply.json()
            status = JobStatus(facts["status"].lower())
            message, log, _ = str(facts.get("message") or "").partition(_LOG_FOLLOWS)
            message = hide(plain_text(message), known_secrets()) + ("." if log else "")
            if status.is_over and (_has_driver(job_id) or self._is_leaving(job_id, facts.get("job_id"))):
                return Observation(JobStatus.RUNNING, "Its processes are leaving.")
            return Observation(status, message)
        except Unavailable as error:
            return Observation(JobStatus.UNREACHABLE, error.message)

    def _is_leaving(self, submission_id: str, ray_job_id: str | None) -> bool:
        if ray_job_id is None:  # the driver never reached Ray: it has no actors
            return False
        ended = self._ended_at.setdefault(submission_id, time.monotonic())
        if time.monotonic() - ended > _LEAVING_SECONDS:
            return False
        reply = self._call(
            "GET",
            "/api/v0/actors",
            params=[
                ("limit", "1000"),
                *(("filter_keys", key) for key in ("job_id", "state")),
                *(("filter_predicates", predicate) for predicate in ("=", "!=")),
                *(("filter_values", value) for value in (ray_job_id, "DEAD")),
            ],
        )
        if reply.status_code != httpx.codes.OK:
            return True
        found = reply.json()["data"]["result"]["result"]
        alive = [actor for actor in found if not str(actor.get("class_name")).startswith(_OF_RAY_SERVE)]
        if not alive:
            self._ended_at.pop(submission_id, None)
        return bool(alive)

    def kill(self, job_id: str) -> None:
        """See `Jobs.kill`."""
        self._call("POST", f"/api/jobs/{job_id}/stop")

    def log_tail(self, job_id: str, lines: int) -> str:
        """See `Jobs.log_tail`."""
        text = _RAYS_OWN_LINE.sub("", self._log(job_id) or "")
        from rich.text import Text

        return "\n".join(Text.from_ansi(text).plain.splitlines()[-lines:])

    def _log(self, job_id: str) -> str | None:
        """A job's whole output so far; None where Ray does not give it."""
        try:
            reply = self._call("GET", f"/api/jobs/{job_id}/logs")
        except Unavailable:
            return None
        if reply.status_code != httpx.codes.OK:
            return None
        return hide(plain_text(str(reply.json().get("logs", ""))), known_secrets())

    def cluster(self) -> Cluster:
        """See `Jobs.cluster`."""
        version = self._call("GET", "/api/version")
        nodes = self._call("GET", "/api/v0/nodes", params={"limit": "1000"})
        for reply in (version, nodes):
            if reply.status_code != httpx.codes.OK:
                raise Unavailable(f"Ray answered HTTP {reply.status_code}.")
        try:
            alive = [node for node in nodes.json()["data"]["result"]["result"] if node["state"] == "ALIVE"]
            have = [node.get("resources_total") or {} for node in alive]
            return Cluster(
                version=str(version.json()["ray_version"]),
                nodes=len(alive),
                cpus=sum(float(node.get("CPU", 0)) for node in have),
                gpus=sum(float(node.get("GPU", 0)) for node in have),
                memory_bytes=round(sum(float(node.get("memory", 0)) for node in have)),
                addresses=frozenset(str(node["node_ip"]) for node in alive),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unavailable("What answers is no Ray that this platform knows.") from error


def _has_driver(submission_id: str) -> bool:
    """Whether the job's driver still runs on this machine: Ray calls a job stopped once it has sent the signal."""
    task_id, _, attempt = submission_id.rpartition("-")
    document = f"{task_id}/attempt-{attempt}.json"
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_ours = any(word.startswith("tunesmith_jobs.") for word in words)
        if is_ours and any(word.endswith(document) for word in words):
            return bool(process.info["status"] != psutil.STATUS_ZOMBIE)
    return False

"""The calls that a job makes to the control plane. Knows HTTP; knows nothing of spools or of who reports."""

import json
import logging

import httpx

from tunesmith.activity import Activity
from tunesmith.errors import ErrorResponse, StaleAttempt
from tunesmith.events import Report, ReportReceipt, SilentWorker
from tunesmith.job import AttemptDocument

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_SILENT_TIMEOUT = httpx.Timeout(2.0)
"""Who watches others must not wait long himself."""


class Gone(Exception):
    """The control plane knows this attempt no more (another one runs, or the task was deleted)."""


class ControlPlane:
    """The two calls a job makes. Not thread-safe."""

    def __init__(self, document: AttemptDocument) -> None:
        self._task_id = document.task_id
        self._attempt = document.attempt
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
        # `trust_env=False`: a proxy set for downloads must not see the reports.
        self._client = httpx.Client(
            base_url=document.api_url,
            timeout=TIMEOUT,
            trust_env=False,
            headers={"Authorization": f"Bearer {document.token}", "Content-Type": "application/json"},
        )

    def send(self, lines: list[bytes], activity: Activity | None = None) -> ReportReceipt:
        """Post events, given as their JSON; none is a heartbeat. With them goes what the job is busy with.

        Raises:
            Gone: This attempt is over, or its task was deleted.
            httpx.HTTPStatusError: Refused for another reason.
            httpx.TransportError: Nobody answered.
        """
        busy = b',"activity":%s' % activity.model_dump_json().encode() if activity else b""
        return self._post(b'{"attempt":%d,"events":[%s]%s}' % (self._attempt, b",".join(lines), busy))

    def _post(self, body: bytes, timeout: httpx.Timeout = TIMEOUT) -> ReportReceipt:
        answer = self._client.post(
            f"/v1/tasks/{self._task_id}/reports",
            content=body,
            timeout=timeout,
        )
        if answer.status_code == 404 or error_code(answer) == StaleAttempt.code:
            raise Gone(answer.text)
        answer.raise_for_status()
        return ReportReceipt.model_validate_json(answer.content)

    def report_silent(self, workers: list[SilentWorker]) -> None:
        """Say which workers give no sign of life. It is none of the attempt; raises as `send` does."""
        body = Report(attempt=self._attempt, silent=workers).model_dump_json(exclude={"events"}).encode()
        self._post(body, timeout=_SILENT_TIMEOUT)

    def received(self, attempt: int) -> ReportReceipt:
        """What has arrived of this attempt, or of an earlier one of the task; raises as `send` does."""
        answer = self._client.get(f"/v1/tasks/{self._task_id}/reports/{attempt}")
        if answer.status_code == 404 or error_code(answer) == StaleAttempt.code:
            raise Gone(answer.text)
        answer.raise_for_status()
        return ReportReceipt.model_validate_json(answer.content)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def error_code(answer: httpx.Response) -> str | None:
    """The stable code of a refusal; None when the body is not ours."""
    if answer.is_success:
        return None
    try:
        return ErrorResponse.model_validate_json(answer.content).error.code
    except ValueError:
        return None


def expected_seq(answer: httpx.Response) -> int | None:
    """The number of the event that a refusal waits for; None where it names none."""
    try:
        value = json.loads(answer.content)["error"]["details"]["expected_seq"]
        return int(value)
    except (ValueError, KeyError, TypeError):
        return None

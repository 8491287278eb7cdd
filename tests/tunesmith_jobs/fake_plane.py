"""A stand-in for the control plane that takes reports as the real one does. No test itself."""

import datetime as dt
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tunesmith.job import JobDocument, report_token

SECRET = "a secret of this test"


class FakeControlPlane:
    """Takes reports as the control plane does: once each, in order, of one attempt; can be told to misbehave."""

    def __init__(self, port: int = 0) -> None:
        self.events: dict[int, list[dict[str, Any]]] = {}
        self.posts = 0
        self.heartbeats = 0
        self.silent: list[list[dict[str, Any]]] = []
        self.activity: dict[str, Any] | None = None  # what the last report said that its job is busy with
        self.desired = "run"
        self.wants: dict[str, Any] = {}  # what a newer control plane says besides
        self.listed: Callable[[], list[int]] | None = None  # an older control plane does not say
        self.failures: list[tuple[int, dict[str, Any]]] = []
        self.stale = False
        self.refuse_value: float | None = None
        self.bad_tokens = 0
        self.closed = False
        self.attempt: str | None = None  # what a warm runner is given when it asks
        self.warm = threading.Event()  # set once a warm runner has said that it is
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_is_closing = threading.Event()

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def refuse(self, status: int, code: str, **details: Any) -> None:
                self.answer(status, {"error": {"code": code, "message": code, "details": details}})

            def authorized(self, attempt: int) -> bool:
                expected = f"Bearer {report_token(SECRET, self.path.split('/')[3], attempt)}"
                plane.bad_tokens += self.headers["Authorization"] != expected
                return self.headers["Authorization"] == expected

            def do_GET(self) -> None:
                attempt = int(self.path.rsplit("/", 1)[1])
                # As the platform: the current attempt may ask for those before it.
                assert any(self.authorized(later) for later in range(attempt, attempt + 5))
                known = {"last_seq": len(plane.events.get(attempt, [])), "desired": plane.desired}
                self.answer(200, known if plane.listed is None else known | {"listed": plane.listed()})

            def do_POST(self) -> None:
                report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/next"):
                    if report["is_warm"]:
                        plane.warm.set()
                    if plane.attempt is None:
                        self.server_is_closing.wait(0.1)
                    return self.answer(200, {"document_uri": plane.attempt})
                if plane.closed:  # a kept-alive connection outlives the listening socket
                    self.close_connection = True
                    return None
                plane.posts += 1
                plane.activity = report.get("activity")
                if not self.authorized(report["attempt"]):
                    return self.refuse(401, "unauthorized")
                if plane.stale:
                    return self.refuse(409, "stale_attempt")
                if plane.failures:
                    status, body = plane.failures.pop(0)
                    return self.answer(status, body)
                known = plane.events.setdefault(report["attempt"], [])
                if "silent" in report:
                    plane.silent.append(report["silent"])
                    return self.answer(200, {"last_seq": len(known), "desired": plane.desired})
                plane.heartbeats += not report["events"]
                for event in report["events"]:
                    if event["seq"] <= len(known):
                        continue
                    if event["seq"] != len(known) + 1:
                        return self.refuse(409, "sequence_gap", expected_seq=len(known) + 1)
                    if (
                        plane.refuse_value is not None
                        and plane.refuse_value in event["payload"].get("values", {}).values()
                    ):
                        return self.refuse(422, "invalid_input")
                    known.append(event)
                return self.answer(200, {"last_seq": len(known), "desired": plane.desired} | plane.wants)

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def steps(self, attempt: int = 1) -> list[int]:
        return [
            e["payload"]["step"] for e in self.events.get(attempt, []) if e["payload"]["kind"] == "metrics"
        ]

    def close(self) -> None:
        self.closed = True
        self.server.shutdown()
        self.server.server_close()


def make_document(folder: Path, api_url: str, attempt: int = 1, **more: Any) -> JobDocument:
    return JobDocument.model_validate(
        {
            "task_id": "task-1",
            "attempt": attempt,
            "kind": "train",
            "name": "a run",
            "spec": {},
            "api_url": api_url,
            "token": report_token(SECRET, "task-1", attempt),
            "work_dir": str(folder / "work"),
            "artifact_uri": str(folder / "artifacts"),
            "model_path": "m",
            "train_path": "t",
            "submitted_at": dt.datetime.now(dt.UTC),
        }
        | more
    )

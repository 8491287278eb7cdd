"""The background loops in a process of their own, beside servers that run none: `tunesmith controller`.

A job speaks to the API. While nobody hears it there, its silence says nothing: so the controller asks whether somebody
answers where jobs report, and counts silence only then.
"""

import contextlib
import http.server
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import httpx

from tunesmith.errors import TunesmithError
from tunesmith.language import tr
from tunesmith.tls import trust
from tunesmith_platform.app import build_services, ready_schema
from tunesmith_platform.background import background_loops
from tunesmith_platform.db import schema
from tunesmith_platform.hub import Hub
from tunesmith_platform.logs import configure
from tunesmith_platform.loops import Loop, Loops
from tunesmith_platform.settings import Settings
from tunesmith_platform.system.schema_watch import SchemaWatch

logger = logging.getLogger(__name__)

_ASKED_SECONDS = 3.0
_HEARD_SECONDS = 10.0
"""An answer holds for so long."""
_SAID_SECONDS = 5.0
_FAILED = 3
"""The exit code of one that was not started, as that of a server."""


class Listeners(Loop):
    """Knows whether somebody answers where jobs report.

    Args:
        hub: Of the process.
        api_url: Where jobs report.
    """

    def __init__(self, hub: Hub, api_url: str) -> None:
        super().__init__(hub)
        # No proxy of the environment stands between parts of one platform.
        self._client = httpx.Client(base_url=api_url, timeout=2, trust_env=False, verify=trust())
        self._answered_at = float("-inf")

    def tick(self) -> None:
        """Ask once."""
        with contextlib.suppress(httpx.HTTPError):
            self._client.get("/healthz")  # whatever it says of itself, it hears
            self._answered_at = time.monotonic()

    def pause(self) -> None:
        """Nothing that happens makes it come earlier."""
        self._stop.wait(_ASKED_SECONDS)

    def hears(self) -> bool:
        """Whether somebody answered a moment ago."""
        return time.monotonic() - self._answered_at < _HEARD_SECONDS


_STANDS_STILL_SECONDS = 60.0
"""After how long without a round of the main thread the process counts as one that does not live."""


@contextlib.contextmanager
def probes(
    host: str, port: int, lives: Callable[[], bool], unwell: Callable[[], dict[str, str]]
) -> Iterator[int]:
    """Answer `/livez` and `/readyz` while the block runs: 200, or 503 with the loops that do not do their work.

    Args:
        host: Where to listen.
        port: Where to listen; 0 takes a free one.
        lives: Whether the process gets on; who hears no may end it.
        unwell: The loops that do not do their work, with what is the matter.

    Yields:
        The port.
    """

    class Probe(http.server.BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            said = {"/livez": {} if lives() else {"main": "stands still"}, "/readyz": unwell()}.get(self.path)
            status = (
                HTTPStatus.NOT_FOUND
                if said is None
                else HTTPStatus.SERVICE_UNAVAILABLE
                if said
                else HTTPStatus.OK
            )
            body = json.dumps({"loops": said} if said else {"status": status.phrase.lower()}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_said: object) -> None:
            """Nothing: it is asked every few seconds."""

    with http.server.ThreadingHTTPServer((host, port), Probe) as server:
        thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def run(settings: Settings, ended: threading.Event) -> None:
    """Run the loops until `ended` is set.

    Raises:
        Unavailable: The database is of another version, or does not answer.
    """
    services = build_services(settings)
    loops = Loops()
    try:
        schema.require_place(services.database, is_made=False)  # it goes with a platform that is there
        ready_schema(services.database, settings)
        listeners = Listeners(services.hub, settings.api_url)
        watch = SchemaWatch(services.system, services.hub)
        loops.start(
            {"Listeners": lambda: listeners, "SchemaWatch": lambda: watch}
            | background_loops(services, listeners.hears)
        )
        with contextlib.ExitStack() as stack:
            moved_at = time.monotonic()
            if settings.controller_port:
                stack.enter_context(
                    probes(
                        settings.host,
                        settings.controller_port,
                        lambda: time.monotonic() - moved_at < _STANDS_STILL_SECONDS,
                        loops.unwell,
                    )
                )
            logger.info("the background loops run")
            said: dict[str, str] = {}
            while not ended.wait(_SAID_SECONDS):
                moved_at = time.monotonic()
                unwell = loops.unwell()
                if unwell != said:
                    logger.warning("loops that do not do their work: %s", unwell or "none any more")
                said = unwell
    finally:
        loops.close()
        services.models.close()
        services.estimates.close()
        services.database.close()


def main() -> None:
    """Run the loops as the settings say, until SIGTERM or Ctrl-C."""
    settings = Settings()
    configure(settings.log_format)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        run(settings, ended)
    except TunesmithError as error:
        logger.error("not started: %s %s", tr(error.message), tr(error.hint or ""))
        sys.exit(_FAILED)


if __name__ == "__main__":
    main()

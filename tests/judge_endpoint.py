"""A judging model on this machine whose replies a test writes: a real server of chat completions."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


class JudgeEndpoint:
    """Answers on loopback. `reply` is given what the judge is asked, and returns a status and what is said."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.reply: Callable[[str], Reply] = lambda text: (200, "tie")
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint._lock:
                    endpoint.asked.append(body)
                    endpoint.keys.append(self.headers.get("Authorization"))
                    endpoint.at_once += 1
                    endpoint.most_at_once = max(endpoint.at_once, endpoint.most_at_once)
                status, said = endpoint.reply(body["messages"][0]["content"])
                if isinstance(said, str):
                    said = {"choices": [{"message": {"content": said}}]}
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                with endpoint._lock:
                    endpoint.at_once -= 1
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", "/elsewhere/chat/completions")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@contextmanager
def judging() -> Iterator[JudgeEndpoint]:
    """An endpoint until the end of the block."""
    made = JudgeEndpoint()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def answers_in(text: str) -> tuple[str, str]:
    """The two answers of a question to the judge."""
    first, second = (
        text.split(f"-answer-{name}>\n")[1].rsplit("\n</", 1)[0].split("\n</", maxsplit=1)[0] for name in "AB"
    )
    return first, second


def prefers(word: str) -> Callable[[str], Reply]:
    """A judge that prefers the answer with a word in it, wherever that stands."""

    def reply(text: str) -> Reply:
        first, second = (word in one for one in answers_in(text))
        return 200, json.dumps({"winner": "tie" if first == second else "A" if first else "B"})

    return reply


def first_place(_: str) -> Reply:
    """A judge that always prefers what stands first."""
    return 200, 'Let me see. {"winner": "A"}'

"""Those who are notified: real HTTP and mail servers, their certificates, and the steps that tests take with them."""

import base64
import datetime as dt
import ipaddress
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest_platform import LOCAL, Plane

from tunesmith.notifications import NewWebhook
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import DeliveryRow
from tunesmith_platform.notifications.loop import Notifier


class Posted(NamedTuple):
    headers: dict[str, str]
    body: bytes
    path: str = ""

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Hook:
    """A receiver of webhooks."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.posts: list[Posted] = []
        self.answers: list[int] = []
        """Statuses of the next answers; then 200."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posts.append(Posted(dict(self.headers), body, self.path))
                status = hook.answers.pop(0) if hook.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = (
            f"{'https' if context else 'http'}://127.0.0.1:{self.server.server_port}/hook?key=query-secret"
        )
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def notifier(plane: Plane) -> Notifier:
    return Notifier(plane.services.notifications, plane.services.hub)


def add(plane: Plane, hook: Hook, **more: Any) -> Any:
    return plane.services.notifications.add(LOCAL, NewWebhook(url=hook.url, **more))


def end(plane: Plane, outcome: str = "failed", reason: str = "numeric", **envelope: Any) -> TaskView:
    task = plane.running(**envelope)
    if outcome == "stopped":
        plane.services.tasks.stop(LOCAL, task.id)
    plane.report(task, {"kind": "finished", "outcome": outcome, "reason": reason, "message": "Step 3."})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    return plane.task(task.id)


def log_of(plane: Plane) -> list[Any]:
    return list(reversed(plane.services.notifications.deliveries(LOCAL, None, None, 100).data))


def let_pass(plane: Plane) -> None:
    """Let the pause before the next tries be over."""
    with plane.services.database.write() as session:
        for row in session.query(DeliveryRow).all():
            row.next_at = now() - dt.timedelta(seconds=1)


class MailServer:
    """A mail server that speaks STARTTLS and AUTH PLAIN, or nothing of both."""

    def __init__(self, context: ssl.SSLContext | None, implicit: bool = False) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.logins: list[str] = []
        self.refusal = ""
        box = self

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                if implicit and context:
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            def handle(self) -> None:
                self.say("220 ready")
                sender, receivers = "", []
                is_safe = implicit
                while line := self.rfile.readline().decode().strip():
                    verb, _, rest = line.partition(" ")
                    verb = verb.upper()
                    if verb in ("EHLO", "HELO"):
                        offers = ["AUTH PLAIN"] if is_safe else ["STARTTLS"] if context else []
                        self.say("250-localhost")
                        for offer in offers:
                            self.say(f"250-{offer}")
                        self.say("250 8BITMIME")
                    elif verb == "STARTTLS" and context:
                        self.say("220 go")
                        self.request = context.wrap_socket(self.request, server_side=True)
                        super().setup()
                        is_safe = True
                    elif verb == "AUTH":
                        box.logins.append(base64.b64decode(rest.split()[1]).decode())
                        self.say("235 welcome")
                    elif verb == "MAIL":
                        sender = rest
                        self.say(box.refusal or "250 ok")
                    elif verb == "RCPT":
                        receivers.append(rest.split(":")[1].split()[0].strip("<>"))
                        self.say("250 ok")
                    elif verb == "DATA":
                        self.say("354 go")
                        lines = []
                        while (text := self.rfile.readline()) != b".\r\n":
                            lines.append(text)
                        box.mails.append((sender, receivers, b"".join(lines)))
                        self.say("250 taken")
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, folder: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        self._folder, self._made = folder, 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's authority")])
        self.file = folder / "authority.pem"
        """What makes the one who trusts it believe its certificates."""
        self.file.write_bytes(self._sign(self._name, self._key.public_key(), [], 1, is_authority=True))

    def context(self, *names: str, days: int = 1) -> ssl.SSLContext:
        """What a server with these names shows.

        Args:
            names: Host names and addresses.
            days: How long the certificate holds; below 0 it has expired.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._made += 1
        file = self._folder / f"server-{self._made}.pem"
        file.write_bytes(self._sign(name, key.public_key(), names, days) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(self, name: Any, key: Any, names: Any, days: int, *, is_authority: bool = False) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        def named(text: str) -> Any:
            try:
                return x509.IPAddress(ipaddress.ip_address(text))
            except ValueError:
                return x509.DNSName(text)

        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - dt.timedelta(days=10))
            .not_valid_after(now() + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([named(text) for text in names]), False)
        if is_authority:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                 "key_agreement", "encipher_only", "decipher_only"), False,
            )  # fmt: skip
            made = made.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), True)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A receiver of webhooks."""
    made = Hook()
    yield made
    made.close()

"""Webhooks and mails, to a real HTTP server and a real mail server: signed, retried, each event once."""

import base64
import concurrent.futures
import datetime as dt
import ipaddress
import json
import logging
import socketserver
import ssl
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest_platform import Plane
from fastapi.testclient import TestClient

from tunesmith.errors import InvalidInput
from tunesmith.notifications import NewWebhook, NoticeEvent, sign, verify
from tunesmith.views import TaskView
from tunesmith_platform.backends.protocols import JobStatus
from tunesmith_platform.clock import now
from tunesmith_platform.db.tables import ApiKeyRow, DeliveryRow, WebhookRow
from tunesmith_platform.notifications import sending
from tunesmith_platform.notifications.loop import Notifier
from tunesmith_platform.notifications.service import PAUSES
from tunesmith_platform.quota.service import NewGrant, QuotaChange


class Posted(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Hook:
    """A receiver of webhooks."""

    def __init__(self) -> None:
        self.posts: list[Posted] = []
        self.answers: list[int] = []
        """Statuses of the next answers; then 200."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posts.append(Posted(dict(self.headers), body))
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
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=query-secret"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def plane(plane: Plane) -> Plane:
    plane.settings.notify_private_addresses = True
    return plane


def notifier(plane: Plane) -> Notifier:
    return Notifier(plane.services.notifications, plane.services.hub)


def add(plane: Plane, hook: Hook, **more: Any) -> Any:
    return plane.services.notifications.add(NewWebhook(url=hook.url, **more), "local")


def end(plane: Plane, outcome: str = "failed", reason: str = "numeric", **envelope: Any) -> TaskView:
    task = plane.running(**envelope)
    if outcome == "stopped":
        plane.services.tasks.stop(task.id)
    plane.report(task, {"kind": "finished", "outcome": outcome, "reason": reason, "message": "Step 3."})
    plane.job(task, JobStatus.SUCCEEDED)
    plane.tick()
    return plane.task(task.id)


def log_of(plane: Plane) -> list[Any]:
    return list(reversed(plane.services.notifications.deliveries(None, None, 100).data))


def let_pass(plane: Plane) -> None:
    """Let the pause before the next tries be over."""
    with plane.services.database.write() as session:
        for row in session.query(DeliveryRow).all():
            row.next_at = now() - dt.timedelta(seconds=1)


def test_a_failure_is_posted_once_and_signed(plane: Plane, hook: Hook) -> None:
    added = add(plane, hook)
    task = end(plane)
    for _ in range(3):
        notifier(plane).tick()
    (posted,) = hook.posts
    assert posted.data["event"] == "failed"
    assert posted.data["task"]["id"] == task.id
    assert posted.data["task"]["fault"] == "user"
    assert posted.data["task"]["next_step"]
    signature = posted.headers["X-Tunesmith-Signature"]
    assert verify(added.secret, posted.body, signature)
    assert not verify(added.secret, posted.body + b" ", signature)
    assert not verify("whsec_other", posted.body, signature)
    assert not verify(added.secret, posted.body, sign(added.secret, posted.body, 1))
    (entry,) = log_of(plane)
    assert (entry.state, entry.tries, entry.status) == ("delivered", 1, 200)
    assert posted.headers["X-Tunesmith-Delivery"] == str(entry.id)


@pytest.mark.parametrize("signature", ["", "x", "t=,v1=", "t=1e9,v1=a", "t=1,t=2", "v1=abc", "t=" + "9" * 40])
def test_a_broken_signature_is_no_signature(signature: str) -> None:
    assert not verify("s", b"{}", signature)


@pytest.mark.parametrize(
    ("outcome", "reason", "event"),
    [
        ("completed", "completed", "finished"),
        ("failed", "bad_data", "failed"),
        ("stopped", "stopped_by_user", "stopped"),
    ],
)
def test_each_end_has_its_event(plane: Plane, hook: Hook, outcome: str, reason: str, event: str) -> None:
    others = [e for e in NoticeEvent if e not in (event, NoticeEvent.TEST)]
    add(plane, hook, events=others)
    wanted = add(plane, hook, events=[NoticeEvent(event)])
    end(plane, outcome, reason)
    notifier(plane).tick()
    assert [(entry.receiver, entry.event) for entry in log_of(plane)] == [(wanted.id, event)]


def test_a_webhook_of_a_project_hears_of_that_project(plane: Plane, hook: Hook) -> None:
    add(plane, hook, project="mine")
    end(plane, project="yours")
    task = end(plane, project="mine")
    notifier(plane).tick()
    assert [posted.data["task"]["id"] for posted in hook.posts] == [task.id]


def test_a_low_quota_is_notified_of(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    plane.services.quota.change("default", QuotaChange(enabled=True, low_threshold=5))
    plane.services.quota.grant("default", NewGrant(amount=3), "local", None)
    plane.submit(spec={"max_steps": 10})
    notifier(plane).tick()
    assert [posted.data["event"] for posted in hook.posts] == ["quota_low"]


def test_what_happened_before_is_no_news(plane: Plane, hook: Hook) -> None:
    end(plane)
    notifier(plane).tick()
    add(plane, hook)
    notifier(plane).tick()
    assert hook.posts == []


def test_a_failed_try_comes_again_with_longer_pauses_until_it_is_given_up(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    hook.answers = [500] * 20
    pauses = []
    for _ in range(len(PAUSES)):
        notifier(plane).tick()
        (entry,) = log_of(plane)
        assert (entry.state, entry.status, entry.message) == ("pending", 500, "It answered 500.")
        pauses.append(entry.next_at - now())
        notifier(plane).tick()  # it is not due: nothing is sent
        let_pass(plane)
    assert len(hook.posts) == len(PAUSES)
    assert pauses == sorted(pauses)
    assert pauses[0] < dt.timedelta(seconds=6) < pauses[1]
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.tries) == ("failed", len(PAUSES) + 1)
    bodies = {posted.body for posted in hook.posts}
    assert len(bodies) == 1, "a retry is the same"
    assert len({posted.headers["X-Tunesmith-Delivery"] for posted in hook.posts}) == 1


def test_a_receiver_that_comes_back_gets_it(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    hook.answers = [503]
    notifier(plane).tick()
    let_pass(plane)
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.tries, len(hook.posts)) == ("delivered", 2, 2)


def test_a_process_that_died_while_sending_is_followed_by_another(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    service = plane.services.notifications
    service.enqueue()
    assert len(service.claim_due(4)) == 1  # and dies
    notifier(plane).tick()
    assert hook.posts == [], "it may still be on its way"
    let_pass(plane)
    notifier(plane).tick()
    assert len(hook.posts) == 1


def test_many_loops_side_by_side_send_each_once(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    tasks = [end(plane) for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: notifier(plane).tick(), range(8)))
    assert sorted(posted.data["task"]["id"] for posted in hook.posts) == sorted(task.id for task in tasks)


def test_a_redirect_is_not_followed(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    hook.answers = [302]
    notifier(plane).tick()
    assert len(hook.posts) == 1
    assert log_of(plane)[0].message == "It answered 302."


# --- addresses


@pytest.mark.parametrize(
    ("address", "is_public", "is_private_allowed"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("127.0.0.1", False, True),
        ("10.0.0.1", False, True),
        ("192.168.1.1", False, True),
        ("fd00::1", False, True),
        ("::1", False, True),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::1", False, False),
    ],
)
def test_which_addresses_are_allowed(address: str, is_public: bool, is_private_allowed: bool) -> None:
    found = ipaddress.ip_address(address)
    assert sending.is_allowed(found, allow_private=False) is is_public
    assert sending.is_allowed(found, allow_private=True) is is_private_allowed


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/x", "file:///etc/passwd", "https://", "https://u:p@example.com", "http://[::1", "no url at all",
     "http://127.0.0.1/", "http://localhost:8265/", "http://0x7f000001/", "http://2130706433/", "http://[::1]/",
     "http://169.254.169.254/latest"],
)  # fmt: skip
def test_a_url_that_leads_inside_is_refused(plane: Plane, url: str) -> None:
    plane.settings.notify_private_addresses = False
    with pytest.raises(InvalidInput) as refused:
        plane.services.notifications.add(NewWebhook(url=url), "local")
    assert refused.value.problems[0].field == "url"


def test_a_name_that_leads_inside_later_is_refused_then(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    plane.settings.notify_private_addresses = False
    notifier(plane).tick()
    assert hook.posts == []
    (entry,) = log_of(plane)
    assert (entry.state, entry.status) == ("pending", None)
    assert "private address" in entry.message


def test_the_connection_goes_to_the_address_that_was_checked(
    plane: Plane, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(place: sending.Place) -> list[sending.Address]:
        asked.append(place.host)
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(sending, "resolve", resolve)
    port = hook.server.server_port
    plane.services.notifications.add(NewWebhook(url=f"http://hooks.invalid:{port}/a?b=c"), "local")
    end(plane)
    notifier(plane).tick()
    (posted,) = hook.posts
    assert posted.headers["Host"] == f"hooks.invalid:{port}"
    assert asked == ["hooks.invalid"] * 2


# --- over HTTP


def test_webhooks_over_http(
    plane: Plane, client: TestClient, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    added = client.post("/v1/webhooks", json={"url": hook.url}).json()
    assert client.post("/v1/webhooks", json={"url": hook.url, "event": []}).status_code == 422
    assert client.post("/v1/webhooks", json={"url": "ftp://x.example/y"}).status_code == 422
    tested = client.post(f"/v1/webhooks/{added['id']}:test").json()
    assert (tested["state"], tested["status"]) == ("delivered", 200)
    assert verify(added["secret"], hook.posts[0].body, hook.posts[0].headers["X-Tunesmith-Signature"])
    hook.answers = [500]
    assert client.post(f"/v1/webhooks/{added['id']}:test").json()["state"] == "failed", "a test is tried once"
    listed = client.get("/v1/webhooks").text
    deliveries = client.get("/v1/deliveries", params={"receiver": added["id"]})
    assert [entry["status"] for entry in deliveries.json()["data"]] == [500, 200]
    for secret in (added["secret"], "query-secret"):
        for place in (listed, deliveries.text):
            assert secret not in place
    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert added["secret"] not in ours
    assert added["secret"].encode() not in plane.home.database.read_bytes()
    assert client.delete(f"/v1/webhooks/{added['id']}").status_code == 204
    assert client.get("/v1/webhooks").json()["data"] == []
    assert client.post(f"/v1/webhooks/{added['id']}:test").status_code == 404
    assert client.post("/v1/webhooks/email:test").status_code == 422, "no mail server is set"


def test_only_administrators_see_webhooks(plane: Plane, client: TestClient) -> None:
    import hashlib

    with plane.services.database.write() as session:
        digest = hashlib.sha256(b"ts-user").hexdigest()
        session.add(ApiKeyRow(sha256=digest, name="ann", role="user", created_at=now()))
    user = {"Authorization": "Bearer ts-user"}
    assert client.get("/v1/webhooks", headers=user).status_code == 403
    assert client.post("/v1/webhooks", json={"url": "https://example.com/"}, headers=user).status_code == 403
    assert client.get("/v1/deliveries", headers=user).status_code == 403


def test_a_deleted_task_leaves_its_deliveries(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    task = end(plane)
    plane.services.notifications.enqueue()
    plane.services.tasks.delete(task.id, with_files=False)
    notifier(plane).tick()
    assert [posted.data["task"]["id"] for posted in hook.posts] == [task.id]
    with plane.services.database.read() as session:
        assert session.query(WebhookRow).count() == 1


# --- mail


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only this test trusts, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now() - dt.timedelta(days=1))
        .not_valid_after(now() + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture(params=["starttls", "tls", "none"])
def post_office(
    request: pytest.FixtureRequest, plane: Plane, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MailServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = MailServer(None if request.param == "none" else context, implicit=request.param == "tls")
    settings = plane.settings
    settings.smtp_host, settings.smtp_port, settings.smtp_security = "127.0.0.1", server.port, request.param
    settings.smtp_user, settings.smtp_to = "robot", ["ann@example.com", "bob@example.com"]
    from pydantic import SecretStr

    settings.smtp_password = SecretStr("mail-secret")
    settings.smtp_from = "tunesmith@example.com"
    yield server
    server.close()


def test_a_mail_is_sent_for_each_end(plane: Plane, post_office: MailServer) -> None:
    task = end(plane, name="名字 ember")
    for _ in range(2):
        notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.receiver, entry.state, entry.message) == ("email", "delivered", "")
    ((sender, receivers, raw),) = post_office.mails
    assert "tunesmith@example.com" in sender
    assert receivers == ["ann@example.com", "bob@example.com"]
    mail = message_from_bytes(raw, policy=policy.default)
    assert "名字 ember has failed" in mail["Subject"]
    text = mail.get_content()
    assert f"tunesmith tasks autopsy {task.id}" in text
    assert "learning_rate" in text, "what to do next"
    if plane.settings.smtp_security == "none":
        assert post_office.logins == [], "a password does not travel in the clear"
    else:
        assert post_office.logins == ["\0robot\0mail-secret"]


def test_a_mail_that_is_refused_comes_again(plane: Plane, post_office: MailServer) -> None:
    post_office.refusal = "451 later"
    end(plane)
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.status) == ("pending", 451)
    post_office.refusal = ""
    let_pass(plane)
    notifier(plane).tick()
    assert len(post_office.mails) == 1
    assert plane.services.notifications.test("email").state == "delivered"


def test_a_mail_server_that_nobody_vouches_for_gets_nothing(
    plane: Plane, post_office: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plane.settings.smtp_security == "none":
        pytest.skip("there is no certificate")
    monkeypatch.delenv("SSL_CERT_FILE")
    end(plane)
    notifier(plane).tick()
    assert (post_office.mails, post_office.logins) == ([], [])
    assert log_of(plane)[0].message == "The mail server did not take it: SSLCertVerificationError."


def test_a_name_cannot_write_headers(plane: Plane, post_office: MailServer) -> None:
    answer = sending.mail(plane.settings, "a\r\nBcc: eve@example.com", "text", 1)
    assert answer.ok
    assert message_from_bytes(post_office.mails[0][2])["Bcc"] is None
    assert "mail-secret" not in repr(plane.settings)

"""Where a webhook may be posted to: the post is made from inside."""

import contextlib
import ipaddress
import socketserver
import threading
from pathlib import Path

import pytest
from canaries import files_below, leaks
from conftest_platform import LOCAL, Plane
from receivers import Hook, add, end, let_pass, log_of, notifier

from tunesmith.errors import InvalidInput
from tunesmith.notifications import NewWebhook
from tunesmith_platform.addresses import Address, AddressKind, kind_of, refusal
from tunesmith_platform.notifications import sending

pytestmark = pytest.mark.usefixtures("private_addresses")


def test_a_redirect_is_not_followed(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    hook.answers = [302]
    notifier(plane).tick()
    assert len(hook.posts) == 1
    assert log_of(plane)[0].message == "It answered 302."


# --- addresses


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("93.184.216.34", "public"),
        ("2606:2800:220:1::1", "public"),
        ("127.0.0.1", "loopback"),
        ("127.1.2.3", "loopback"),
        ("::1", "loopback"),
        ("10.0.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("169.254.169.254", None),
        ("fe80::1", None),
        ("fe80::1%eth0", None),
        ("2606:2800:220:1::1%eth0", None),
        ("fec0::1", None),
        ("0.0.0.0", None),
        ("0.0.0.1", None),
        ("::", None),
        ("224.0.0.1", None),
        ("ff02::1", None),
        ("255.255.255.255", None),
        ("240.0.0.1", None),
        ("192.0.2.1", None),
        ("100.100.100.200", None),
        ("168.63.129.16", None),
        ("192.0.0.192", None),
        ("fd00:ec2::254", None),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:93.184.216.34", "public"),
        ("::ffff:169.254.169.254", None),
        ("::ffff:0.0.0.0", None),
        ("::127.0.0.1", None),
        ("::ffff:0:7f00:1", None),
        ("64:ff9b::a9fe:a9fe", None),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::5db8:d822", "public"),
        ("64:ff9b:1::7f00:1", None),
        ("2002:a9fe:a9fe::1", None),
        ("2002:7f00:1::1", "loopback"),
        ("2001:0:7f00:1::80ff:fffe", None),
    ],
)
def test_an_address_is_of_one_kind_or_nothing_is_posted_to_it(address: str, kind: str | None) -> None:
    found = ipaddress.ip_address(address)
    assert kind_of(found) == kind
    for allowed in AddressKind:
        assert (refusal([found], [allowed]) is None) is (kind == allowed)
    assert (refusal([found], [*AddressKind]) is None) is (kind is not None)
    assert refusal([found], []) is not None


def test_a_host_with_one_address_inside_is_refused_whole() -> None:
    outside, inside = ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("10.0.0.1")
    for addresses in ([outside, inside], [inside, outside]):
        assert "10.0.0.1" in (refusal(addresses, [AddressKind.PUBLIC]) or "")


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/x", "file:///etc/passwd", "https://", "https://u:p@example.com", "http://[::1", "no url at all",
     "http://127.0.0.1/", "http://localhost:8265/", "http://0x7f000001/", "http://2130706433/", "http://[::1]/",
     "http://169.254.169.254/latest", "http://0/", "http://[::ffff:127.0.0.1]/", "https://example.com:22/",
     "https://example.com:0/", "https://example.com:6/", "http://127.1:8000/", "http://a..b/",
     f"http://{'a' * 64}.example/", "https://example.com:65536/", "http://example.com\\\\@127.0.0.1/"],
)  # fmt: skip
def test_a_url_that_leads_inside_is_refused(plane: Plane, url: str) -> None:
    plane.settings.notify_addresses = [AddressKind.PUBLIC]
    with pytest.raises(InvalidInput) as refused:
        plane.services.notifications.add(LOCAL, NewWebhook(url=url))
    assert refused.value.problems[0].field == "url"


def test_an_address_that_is_a_secret_is_named_and_stored_nowhere(
    plane: Plane, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.settings.webhook_environment = ["HOOK_OF_US"]
    (tmp_path / "hook").write_text("T0/B0/canary-of-the-hook\n")
    monkeypatch.setenv("HOOK_OF_US_FILE", str(tmp_path / "hook"))
    url = hook.url.partition("/hook")[0] + "/services/${env.HOOK_OF_US}?x=1"
    made = plane.services.notifications.add(LOCAL, NewWebhook(url=url))
    assert made.url == url.replace("?x=1", "?…")
    end(plane)
    notifier(plane).tick()
    assert [post.path for post in hook.posts] == ["/services/T0/B0/canary-of-the-hook?x=1"]
    left = files_below(plane.home.root) | {"log": str(log_of(plane)).encode()}
    assert leaks({"the address": "canary-of-the-hook"}, left) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("/services/${env.HF_TOKEN}", "hf", "may not read `${env.HF_TOKEN}` here"),
        ("/services/${input.x}", "x", "may not read `${input.x}` here"),
        ("${env.HOOK_OF_US}/services", "x", "host is written out"),
        (".${env.HOOK_OF_US}/services", "x", "host is written out"),
        ("@${env.HOOK_OF_US}/services", "x", "holds no user"),
        ("?${env.HOOK_OF_US}", "x", "host is written out"),
    ],
)
def test_an_address_reads_what_is_listed_for_it_and_no_host(
    plane: Plane, path: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.settings.webhook_environment = ["HOOK_OF_US"]
    monkeypatch.setenv("HOOK_OF_US", value)
    with pytest.raises(InvalidInput) as refused:
        plane.services.notifications.add(LOCAL, NewWebhook(url=f"https://example.com{path}"))
    assert said in refused.value.message
    assert refused.value.problems[0].field == "url"


@pytest.mark.parametrize("value", [None, ""])
def test_an_address_whose_variable_is_gone_is_told_to_be_that(
    plane: Plane, hook: Hook, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.settings.webhook_environment = ["HOOK_OF_US"]
    url = hook.url.partition("/hook")[0] + "/${env.HOOK_OF_US}"
    plane.services.notifications.add(LOCAL, NewWebhook(url=url))
    if value is not None:
        monkeypatch.setenv("HOOK_OF_US", value)
    end(plane)
    notifier(plane).tick()
    assert hook.posts == []
    assert log_of(plane)[0].message == "`HOOK_OF_US` is not set where the platform runs."


def test_a_name_that_leads_inside_later_is_refused_then(plane: Plane, hook: Hook) -> None:
    add(plane, hook)
    end(plane)
    plane.settings.notify_addresses = [AddressKind.PUBLIC]
    notifier(plane).tick()
    assert hook.posts == []
    (entry,) = log_of(plane)
    assert (entry.state, entry.status) == ("pending", None)
    assert entry.message == "Its host has the loopback address 127.0.0.1, and webhooks may not go there."
    assert entry.sent_to == ""


@pytest.mark.parametrize(
    ("allowed", "arrives"),
    [
        (["loopback"], True),
        (["public", "loopback"], True),
        (["public"], False),
        (["private"], False),
        ([], False),
    ],
)
def test_the_settings_say_where_webhooks_may_go(
    plane: Plane, hook: Hook, allowed: list[str], arrives: bool
) -> None:
    add(plane, hook)
    plane.settings.notify_addresses = [AddressKind(kind) for kind in allowed]
    end(plane)
    notifier(plane).tick()
    assert bool(hook.posts) is arrives


@pytest.mark.parametrize("second", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
def test_a_name_that_leads_elsewhere_the_second_time_leads_nowhere(
    plane: Plane, hook: Hook, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """The resolver is the attacker's: public when the webhook is added, inside when it is posted to."""
    answers = [ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address(second)]
    monkeypatch.setattr(sending, "resolve", lambda place: [answers.pop(0)])
    plane.settings.notify_addresses = [AddressKind.PUBLIC]
    url = f"http://hooks.invalid:{hook.server.server_port}/"
    added = plane.services.notifications.add(LOCAL, NewWebhook(url=url))
    tested = plane.services.notifications.test(LOCAL, added.id)
    assert (tested.state, tested.sent_to, hook.posts) == ("failed", "", [])
    assert answers == [], "it is resolved once a try"


def test_a_dead_address_is_passed_over_for_the_next(
    plane: Plane, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [ipaddress.ip_address("::1"), ipaddress.ip_address("127.0.0.1")]
    monkeypatch.setattr(sending, "resolve", lambda place: both)
    port = hook.server.server_port
    added = plane.services.notifications.add(LOCAL, NewWebhook(url=f"http://hooks.invalid:{port}/"))
    tested = plane.services.notifications.test(LOCAL, added.id)
    assert (tested.state, tested.sent_to) == ("delivered", f"127.0.0.1:{port}")


# --- a test message


def test_a_test_goes_to_the_webhook_that_is_named_and_says_where_it_went(plane: Plane, hook: Hook) -> None:
    other = Hook()
    try:
        add(plane, other)
        added = add(plane, hook)
        end(plane)
        tested = plane.services.notifications.test(LOCAL, added.id)
        assert tested.sent_to == f"127.0.0.1:{hook.server.server_port}"
        assert [posted.data["event"] for posted in hook.posts] == ["test"]
        assert other.posts == []
    finally:
        other.close()


def test_a_test_that_was_broken_off_is_not_sent_later(
    plane: Plane, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the one who asked for it is gone, and who reads the log must not take it for news."""
    added = add(plane, hook)

    def dies(*_: object, **__: object) -> sending.Answer:
        raise KeyboardInterrupt

    post = sending.post
    monkeypatch.setattr(sending, "post", dies)
    with pytest.raises(KeyboardInterrupt):
        plane.services.notifications.test(LOCAL, added.id)
    monkeypatch.setattr(sending, "post", post)
    let_pass(plane)
    notifier(plane).tick()
    assert hook.posts == []
    (entry,) = log_of(plane)
    assert (entry.state, entry.message) == ("failed", "It was not sent to its end.")


# --- answers without an end


class Drip:
    """A receiver that answers, a little at a time, for as long as somebody listens."""

    def __init__(self, piece: bytes, pause: float) -> None:
        self.sent = 0
        drip = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(65536)
                with contextlib.suppress(OSError):
                    self.request.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not drip.over.wait(pause):
                        self.request.sendall(piece)
                        drip.sent += len(piece)

        self.over = threading.Event()
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(
    ("piece", "pause", "why"),
    [
        (b"X-A: b\r\n", 0.02, "It did not answer within 0.5 s."),
        (b"X-A: " + b"b" * 4000 + b"\r\n", 0.0, "no end"),
    ],
    ids=["slow", "long"],
)
def test_an_answer_is_bounded_in_seconds_and_bytes(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, piece: bytes, pause: float, why: str
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT_SECONDS", 0.5 if pause else 10.0)
    drip = Drip(piece, pause)
    try:
        url = f"http://127.0.0.1:{drip.server.server_address[1]}/"
        added = plane.services.notifications.add(LOCAL, NewWebhook(url=url))
        tested = plane.services.notifications.test(LOCAL, added.id)
    finally:
        drip.close()
    assert (tested.state, tested.status) == ("failed", None)
    assert why in tested.message
    assert tested.sent_to == f"127.0.0.1:{drip.server.server_address[1]}"
    assert drip.sent < 10**7


def test_the_connection_goes_to_the_address_that_was_checked(
    plane: Plane, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(place: sending.Place) -> list[Address]:
        asked.append(place.host)
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(sending, "resolve", resolve)
    port = hook.server.server_port
    plane.services.notifications.add(LOCAL, NewWebhook(url=f"http://hooks.invalid:{port}/a?b=c"))
    end(plane)
    notifier(plane).tick()
    (posted,) = hook.posts
    assert posted.headers["Host"] == f"hooks.invalid:{port}"
    assert asked == ["hooks.invalid"] * 2

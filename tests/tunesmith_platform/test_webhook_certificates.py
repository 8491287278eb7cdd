"""Whose certificate is believed when a webhook is posted to."""

import ipaddress
import ssl
from collections.abc import Callable, Iterator

import pytest
from conftest_platform import LOCAL, Plane
from receivers import Authority, Hook, add, end, let_pass, log_of, notifier

from tunesmith.notifications import NewWebhook, verify
from tunesmith_platform.notifications import sending

pytestmark = pytest.mark.usefixtures("private_addresses")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority, which the sender trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def safe_hook() -> Iterator[Callable[[ssl.SSLContext], Hook]]:
    made: list[Hook] = []

    def make(context: ssl.SSLContext) -> Hook:
        made.append(Hook(context))
        return made[-1]

    yield make
    for hook in made:
        hook.close()


def test_a_webhook_over_https_is_signed_and_sends_no_redirect_on(
    plane: Plane, trusted: Authority, safe_hook: Callable[[ssl.SSLContext], Hook]
) -> None:
    hook = safe_hook(trusted.context("127.0.0.1"))
    added = add(plane, hook)
    end(plane)
    hook.answers = [302]
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.message, len(hook.posts)) == ("pending", "It answered 302.", 1)
    let_pass(plane)
    notifier(plane).tick()
    assert log_of(plane)[0].state == "delivered"
    posted = hook.posts[1]
    assert verify(added.secret, posted.body, posted.headers["X-Tunesmith-Signature"])


@pytest.mark.parametrize(
    ("names", "days", "is_trusted", "why"),
    [
        (["127.0.0.1"], 1, False, "unable to get local issuer certificate"),
        (["127.0.0.2", "hooks.example"], 1, True, "IP address mismatch"),
        (["127.0.0.1"], -1, True, "certificate has expired"),
    ],
    ids=["nobody vouches for it", "another's", "expired"],
)
def test_a_receiver_with_a_bad_certificate_gets_nothing(
    plane: Plane,
    authority: Authority,
    safe_hook: Callable[[ssl.SSLContext], Hook],
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    days: int,
    is_trusted: bool,
    why: str,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    hook = safe_hook(authority.context(*names, days=days))
    add(plane, hook)
    end(plane)
    notifier(plane).tick()
    (entry,) = log_of(plane)
    assert (entry.state, entry.status, hook.posts) == ("pending", None, [])
    assert entry.message.startswith("Its certificate is not trusted: ")
    assert why in entry.message


def test_the_certificate_is_the_names_and_the_connection_the_addresss(
    plane: Plane,
    trusted: Authority,
    safe_hook: Callable[[ssl.SSLContext], Hook],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "resolve", lambda place: [ipaddress.ip_address("127.0.0.1")])
    hook = safe_hook(trusted.context("hooks.example"))
    port = hook.server.server_port
    plane.services.notifications.add(LOCAL, NewWebhook(url=f"https://hooks.example:{port}/a"))
    end(plane)
    notifier(plane).tick()
    assert [entry.state for entry in log_of(plane)] == ["delivered"]
    assert hook.posts[0].headers["Host"] == f"hooks.example:{port}"

"""Where a webhook may be posted to, and whose certificate is believed: the post is made from inside."""

import ipaddress
import ssl
from collections.abc import Callable, Iterator

import pytest
from conftest_platform import Plane
from receivers import Authority, Hook, add, end, let_pass, log_of, notifier

from tunesmith.errors import InvalidInput
from tunesmith.notifications import NewWebhook, verify
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


# --- certificates


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
    plane.services.notifications.add(NewWebhook(url=f"https://hooks.example:{port}/a"), "local")
    end(plane)
    notifier(plane).tick()
    assert [entry.state for entry in log_of(plane)] == ["delivered"]
    assert hook.posts[0].headers["Host"] == f"hooks.example:{port}"

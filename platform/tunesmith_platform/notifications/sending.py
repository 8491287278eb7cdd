"""Takes a notification to its receiver: one HTTP post, or one mail. Knows the network; knows no database.

A webhook's address comes from a user, and the post is made from inside: so its host is resolved here, every address is
checked, and the connection goes to the very address that was checked. Redirects are not followed, no proxy is asked,
and nothing of the answer but its status is kept.
"""

import ipaddress
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import urlsplit

import certifi
import httpx

from tunesmith.errors import InvalidInput
from tunesmith.notifications import DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, sign
from tunesmith_platform.settings import Settings

TIMEOUT_SECONDS = 10.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Answer(NamedTuple):
    """How a try went."""

    ok: bool
    status: int | None = None
    message: str = ""


class Place(NamedTuple):
    """Where a webhook's URL leads."""

    host: str
    port: int


def place_of(url: str) -> Place:
    """Where a URL leads, if a webhook may have it.

    Raises:
        InvalidInput: It is no plain http or https URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise InvalidInput(f"`{url}` is no URL.", field="url") from error
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput("A webhook's URL begins with `https://` or `http://`.", field="url")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "A webhook's URL holds no user and no password.",
            field="url",
            hint="Leave them out: the signature tells the receiver who posts.",
        )
    return Place(host, port or (443 if parts.scheme == "https" else 80))


def is_allowed(address: Address, allow_private: bool) -> bool:
    """Whether a webhook may be posted to an address.

    Args:
        address: As it was resolved.
        allow_private: Whether the administrator allows private addresses and this machine. Those of a link alone
            (where clouds keep their machines' credentials) never are.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_allowed(inner, allow_private)
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return False
    return address.is_global or (allow_private and (address.is_private or address.is_loopback))


def resolve(place: Place) -> list[Address]:
    """The addresses of a host.

    Raises:
        OSError: It has none.
    """
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def refusal(addresses: list[Address], allow_private: bool) -> str | None:
    """Why a webhook may not be posted to these addresses; None when it may."""
    if all(is_allowed(address, allow_private) for address in addresses):
        return None
    return "Its host has a private address, and webhooks may not go there."


def post(url: str, secret: str, event: str, delivery_id: int, body: bytes, *, allow_private: bool) -> Answer:
    """Post a notification to a webhook, signed."""
    try:
        place = place_of(url)
        addresses = resolve(place)
    except InvalidInput as error:
        return Answer(False, message=error.message)
    except OSError:
        return Answer(False, message=f"The host `{place.host}` is not known.")
    refused = refusal(addresses, allow_private)
    if refused or not addresses:
        return Answer(False, message=refused or f"The host `{place.host}` has no address.")
    target = httpx.URL(url)
    headers = {
        "Host": target.netloc.decode("ascii"),
        "Content-Type": "application/json",
        "User-Agent": "tunesmith-webhook",
        SIGNATURE_HEADER: sign(secret, body),
        EVENT_HEADER: event,
        DELIVERY_HEADER: str(delivery_id),
    }
    # To the address that was checked: asked again, a name may lead elsewhere. Its certificate is the name's.
    checked = target.copy_with(host=str(addresses[0]))
    try:
        with (
            httpx.Client(
                timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False, verify=_trust()
            ) as client,
            client.stream(
                "POST", checked, content=body, headers=headers, extensions={"sni_hostname": place.host}
            ) as reply,
        ):
            status = reply.status_code
    except httpx.TimeoutException:
        return Answer(False, message=f"It did not answer within {TIMEOUT_SECONDS:g} s.")
    except (httpx.HTTPError, ssl.SSLError, OSError) as error:
        return Answer(False, message=_why(error))
    if 200 <= status < 300:
        return Answer(True, status)
    return Answer(False, status, f"It answered {status}.")


def _trust() -> ssl.SSLContext:
    """Whose certificates are believed: the machine's own authorities (`SSL_CERT_FILE` adds one), and the known ones."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _why(error: BaseException) -> str:
    """Why a receiver could not be reached."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"Its certificate is not trusted: {cause.verify_message}."[:300]
        cause = cause.__cause__ or cause.__context__
    return f"It cannot be reached: {type(error).__name__}."


def mail(settings: Settings, subject: str, text: str, delivery_id: int) -> Answer:
    """Send a mail to everybody whom the settings name.

    The password is sent over TLS only. Whoever gets the mail twice can tell by its `Message-ID`.
    """
    message = EmailMessage()
    sender = settings.smtp_from or f"tunesmith@{settings.smtp_host}"
    message["From"], message["To"] = sender, ", ".join(settings.smtp_to)
    message["Subject"] = "".join(c if c.isprintable() else " " for c in subject)
    message["Date"], message["Message-ID"] = formatdate(), f"<delivery-{delivery_id}@tunesmith>"
    message.set_content(text)
    place = (settings.smtp_host, settings.smtp_port)
    context = _trust()
    try:
        server: smtplib.SMTP
        if settings.smtp_security == "tls":
            server = smtplib.SMTP_SSL(*place, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(*place, timeout=TIMEOUT_SECONDS)
        with server:
            if settings.smtp_security == "starttls":
                server.starttls(context=context)
            if settings.smtp_user and settings.smtp_security != "none":
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            refused = server.send_message(message, sender, settings.smtp_to)
    except smtplib.SMTPResponseException as error:
        return Answer(False, error.smtp_code, f"The mail server answered {error.smtp_code}.")
    except (smtplib.SMTPException, OSError) as error:
        return Answer(False, message=f"The mail server did not take it: {type(error).__name__}.")
    if refused:
        return Answer(True, 250, f"{len(refused)} of {len(settings.smtp_to)} receivers were refused.")
    return Answer(True, 250)

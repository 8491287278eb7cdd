"""Takes a notification to its receiver: one HTTP post, or one mail. Knows the network; knows no database.

A webhook's address comes from a user, and the post is made from inside: so its host is resolved here, once, every
address is checked (`addresses`), and the connection goes to one that was checked and nowhere else (`pinned`).
"""

import ipaddress
import socket
import ssl
from collections.abc import Collection
from typing import NamedTuple

import httpcore
import httpx

from tunesmith.errors import InvalidInput
from tunesmith.notifications import DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, sign
from tunesmith.secret_values import named
from tunesmith.spec.variables import resolve as fill
from tunesmith.spec.variables import variables_in
from tunesmith.tls import trust
from tunesmith_platform.addresses import Address, AddressKind, refusal
from tunesmith_platform.notifications import pinned
from tunesmith_platform.settings import Settings

TIMEOUT_SECONDS = 10.0
_WEB_PORTS = (80, 443)
_FIRST_FREE_PORT = 1024
_LAST_PORT = 65535


class Answer(NamedTuple):
    """How a try went."""

    ok: bool
    status: int | None = None
    message: str = ""
    sent_to: str = ""
    """Where it went: the address and port that took it; of a mail, its receivers. "" where nothing was sent."""


class Place(NamedTuple):
    """Where a webhook's URL leads."""

    host: str
    port: int


def place_of(url: str) -> Place:
    """Where a URL leads, if a webhook may have it. Read by the library that posts: two would differ over some.

    Raises:
        InvalidInput: It is no plain http or https URL.
    """
    try:
        parts = httpx.URL(url)
        host, port = parts.raw_host.decode("ascii"), parts.port
        host.encode("idna")  # what the resolver does: it refuses empty labels, and ones that are too long
    except (ValueError, httpx.InvalidURL) as error:
        raise InvalidInput(f"`{url}` is no URL.", field="url") from error
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput("A webhook's URL begins with `https://` or `http://`.", field="url")
    if parts.userinfo:
        raise InvalidInput(
            "A webhook's URL holds no user and no password.",
            field="url",
            hint="Leave them out: the signature tells the receiver who posts.",
        )
    if port is not None and port > _LAST_PORT:
        raise InvalidInput(f"There is no port {port}.", field="url")
    if port is not None and port not in _WEB_PORTS and port < _FIRST_FREE_PORT:
        raise InvalidInput(
            f"No webhook goes to port {port}: below {_FIRST_FREE_PORT}, only 80 and 443 are the web's.",
            field="url",
            hint="Have the receiver listen on another one.",
        )
    return Place(host, port or (443 if parts.scheme == "https" else 80))


def check_variables(url: str, allowed: Collection[str]) -> None:
    """See that a URL reads no variable but those that the administrator of this machine lists, and no host of one.

    Raises:
        InvalidInput: It does.
    """
    place_of(url)
    in_host = {variable.text for variable in variables_in(url.partition("://")[2].partition("/")[0])}
    for variable in variables_in(url):
        if variable.text in in_host:
            raise InvalidInput(
                "A webhook's host is written out.", field="url", hint="Name the rest of its URL."
            )
        if variable.source != "env" or variable.path[0] not in allowed:
            raise InvalidInput(
                f"A webhook's URL may not read `{variable.text}` here.",
                field="url",
                hint="`TUNESMITH_WEBHOOK_ENVIRONMENT` lists the variables that it may read.",
            )


def filled(url: str, allowed: Collection[str]) -> str:
    """A URL with its variables read, each from the environment or its file.

    Raises:
        InvalidInput: One may not be read, or is not set; or the URL leads elsewhere with it.
    """
    check_variables(url, allowed)
    values = {variable.path[0]: named(variable.path[0]) for variable in variables_in(url)}
    for name, value in values.items():
        if not value:
            raise InvalidInput(f"`{name}` is not set where the platform runs.", field="url")
    found = str(fill(url, {"env": values}))
    if values and place_of(found) != place_of(url):
        raise InvalidInput("What its variables hold makes another address of it.", field="url")
    return found


def resolve(place: Place) -> list[Address]:
    """The addresses of a host.

    Raises:
        OSError: It has none.
    """
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def post(
    url: str, secret: str, event: str, delivery_id: int, body: bytes, *, allowed: Collection[AddressKind]
) -> Answer:
    """Post a notification to a webhook, signed."""
    try:
        place = place_of(url)
        addresses = list(dict.fromkeys(resolve(place)))
    except InvalidInput as error:
        return Answer(False, message=error.message)
    except OSError:
        return Answer(False, message=f"The host `{place.host}` is not known.")
    refused = refusal(addresses, allowed)
    if refused or not addresses:
        return Answer(False, message=refused or f"The host `{place.host}` has no address.")
    headers = {
        "Host": httpx.URL(url).netloc.decode("ascii"),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "tunesmith-webhook",
        "Connection": "close",
        SIGNATURE_HEADER: sign(secret, body),
        EVENT_HEADER: event,
        DELIVERY_HEADER: str(delivery_id),
    }
    sent = pinned.Sent()
    message = ""
    try:
        pinned.post(
            str(httpx.URL(url)), addresses, headers, body, seconds=TIMEOUT_SECONDS, trust=trust(), sent=sent
        )
    except httpcore.TimeoutException:
        message = f"It did not answer within {TIMEOUT_SECONDS:g} s."
    except pinned.TooMuch:
        message = "Its answer has no end."
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
        message = _why(error)
    went_to = _shown(sent.address, place.port) if sent.address else ""
    if message or sent.status is None:
        return Answer(False, message=message, sent_to=went_to)
    if 200 <= sent.status < 300:
        return Answer(True, sent.status, sent_to=went_to)
    return Answer(False, sent.status, f"It answered {sent.status}.", went_to)


def _shown(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


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
    import smtplib
    from email.message import EmailMessage
    from email.utils import formatdate

    message = EmailMessage()
    sender = settings.smtp_from or f"tunesmith@{settings.smtp_host}"
    message["From"], message["To"] = sender, ", ".join(settings.smtp_to)
    message["Subject"] = "".join(c if c.isprintable() else " " for c in subject)
    message["Date"], message["Message-ID"] = formatdate(), f"<delivery-{delivery_id}@tunesmith>"
    message.set_content(text)
    place = (settings.smtp_host, settings.smtp_port)
    context = trust()
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
        words = f"{len(refused)} of {len(settings.smtp_to)} receivers were refused."
        return Answer(True, 250, words, ", ".join(name for name in settings.smtp_to if name not in refused))
    return Answer(True, 250, sent_to=", ".join(settings.smtp_to))

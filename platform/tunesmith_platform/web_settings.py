"""The settings of from where calls are taken, and how many. Part of `Settings`; knows no request."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ANY_HOST = "*"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HOST = re.compile(r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$")
HostName = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9._-]+)$")]
Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?$")]


class WebSettings(BaseSettings):
    """From where calls are taken, and how many."""

    model_config = SettingsConfigDict(env_prefix="TUNESMITH_", hide_input_in_errors=True)

    allowed_hosts: list[HostName] = Field(
        default_factory=list,
        description="Names under which the API is called, besides `localhost`, plain addresses and those of "
        "`public_url` and `api_url`: a JSON list. A page elsewhere that gives its own name our address is refused so; "
        '`["*"]` refuses nobody, for a proxy that asks under a name of its own and checks names itself.',
    )
    allowed_origins: list[Origin] = Field(
        default_factory=list,
        description="Origins whose pages may call the API with a key: a JSON list such as "
        '`["https://tools.example.org"]`. '
        "The studio's own needs no entry, and no cookie is taken from another.",
    )
    max_changes_per_minute: int = Field(
        0,
        ge=0,
        description="Calls that are no GET which one key may make in a minute, in each server; 0: as many as it likes.",
    )
    max_wrong_keys_per_minute: int = Field(
        100,
        ge=0,
        description="Keys, codes and links that count for nothing which one address may show in a minute, in each "
        "server, before it is told to wait; 0: as many as it likes. Right keys are taken all the while.",
    )


def names_of(*addresses: str) -> frozenset[str]:
    """The hosts' names in addresses."""
    return frozenset(found.lower() for one in addresses if (found := urlsplit(one).hostname))


def is_allowed_host(host: str, names: frozenset[str]) -> bool:
    """Whether a request for a host is meant for us.

    A plain address always is: who calls it by that was given no name that leads here.

    Args:
        host: What the request says in `Host`: a name or address, perhaps with a port.
        names: The names that are ours.
    """
    found = _HOST.match(host)
    if found is None:
        return False
    name = found[1].lower().strip("[]").rstrip(".")
    if name in names or name in LOOPBACK:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

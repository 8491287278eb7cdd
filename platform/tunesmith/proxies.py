"""The proxies of the environment: put aside where nothing may take them, and put on by what goes outside.

Parts of the platform talk to each other past every proxy, for what they say carries tokens. But data sets and trackers
may lie behind one: so a worker's environment holds the proxies under a name that no library reads.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""The variables that libraries read, in capitals too."""
ASIDE = "TUNESMITH_OUTSIDE_PROXIES"
_NEVER = ("localhost", "127.0.0.1", "::1")


def put_aside(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that holds an environment's proxies for later; none where it has none."""
    found = {name: environment.get(name) or environment.get(name.upper()) for name in NAMES}
    if not any(found[name] for name in NAMES[:3]):
        return {}
    return {ASIDE: json.dumps({name: value for name, value in found.items() if value})}


def outside() -> dict[str, str]:
    """The proxies that were put aside, by their names in small letters; this machine is reached past them."""
    try:
        found: dict[str, str] = json.loads(os.environ.get(ASIDE, "{}"))
    except ValueError:
        return {}
    if found:
        named = [host.strip() for host in found.get("no_proxy", "").split(",") if host.strip()]
        found["no_proxy"] = ",".join([*named, *(host for host in _NEVER if host not in named)])
    return found


@contextlib.contextmanager
def going_outside() -> Iterator[None]:
    """Put the proxies on, for libraries that read them from the environment, until the end of the block."""
    worn = {each: value for name, value in outside().items() for each in (name, name.upper())}
    before = {name: os.environ.get(name) for name in worn}
    os.environ.update(worn)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

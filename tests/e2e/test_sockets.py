"""What `tunesmith up` listens on: the loopback address alone, and only the parts that the guide names."""

import ipaddress
import re
import socket

import psutil
import pytest
from guide_pages import ROOT

from tunesmith.home import Home
from tunesmith_platform.embedded.processes import ours

pytestmark = [pytest.mark.e2e]


def bound(process: psutil.Process) -> list[tuple[str, int]]:
    """Where a process takes connections, or datagrams of anybody."""
    try:
        found = process.net_connections("inet")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    return [
        (one.laddr.ip, one.laddr.port)
        for one in found
        if one.laddr
        and (one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr))
    ]


def is_of_this_machine_alone(address: str) -> bool:
    """Whether nobody else reaches an address."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def test_only_what_the_guide_names_listens_and_on_loopback_alone(live_home: Home) -> None:
    text = (ROOT / "platform" / "guide" / "en" / "operate.md").read_text()
    table = text.partition("## What listens")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    listening = {process.pid: places for process in ours(live_home) if (places := bound(process))}
    assert len(listening) > 4, "the API, MLflow, and several of Ray's"
    open_to_others = {
        f"{pid} {' '.join(psutil.Process(pid).cmdline())[:120]}": places
        for pid, places in listening.items()
        if not all(is_of_this_machine_alone(address) for address, _ in places)
    }
    assert open_to_others == {}
    of_a_part = {part: {process.pid for process in ours(live_home, part)} for part in named}
    known = set().union(*of_a_part.values())
    assert {pid: places for pid, places in listening.items() if pid not in known} == {}, (
        "the guide names it not"
    )
    assert all(of_a_part[part] & listening.keys() for part in ("api", "mlflow", "ray"))


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_what_others_reach_is_seen(address: str, alone: bool) -> None:
    assert is_of_this_machine_alone(address) is alone

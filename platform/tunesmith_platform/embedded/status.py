"""How the embedded platform stands: its parts' processes, and what its API counts. Knows no command."""

import time
from typing import Any

import psutil
from rich.text import Text

from tunesmith.cli.format import duration
from tunesmith.cli.output import out, say, show_table, state_word, table, warn
from tunesmith.client import Client
from tunesmith.errors import TunesmithError
from tunesmith.home import Home
from tunesmith.language import tr
from tunesmith_platform.embedded.parts import connection
from tunesmith_platform.embedded.processes import ours
from tunesmith_platform.embedded.record import read_record

_COLOURS = {"healthy": "green", "starting": "yellow", "restarting": "red", "unwell": "red", "stopped": "dim"}


def facts_of(home: Home, is_up: bool) -> dict[str, Any]:
    """The parts, each with its state, process, address and memory; the tasks by their states."""
    record = read_record(home)
    addresses: dict[str, str | None] = {}
    if record.ports:
        where = connection(record.ports)
        addresses = {"api": where.api_url, "mlflow": where.mlflow_url, "ray": where.ray_url}
    parts = []
    for name, part in record.parts.items():
        memory = 0
        for process in ours(home, name):
            try:
                memory += process.memory_info().rss
            except psutil.Error:
                continue
        parts.append(
            {
                "name": name,
                "state": part.state if is_up else ("unsupervised" if memory else "stopped"),
                "message": part.message,
                "pid": part.pid,
                "address": addresses.get(name),
                "uptime_seconds": round(time.time() - part.started_at) if part.pid and memory else 0,
                "restarts": part.restarts,
                "memory_bytes": memory,
            }
        )
    facts: dict[str, Any] = {
        "home": str(home.root),
        "supervised": is_up,
        "parts": parts,
        "tasks_by_state": None,
        "warm_runners": 0,
    }
    if is_up:
        try:
            system = Client().system()
            facts |= {"tasks_by_state": system.tasks_by_state, "warm_runners": system.warm_runners}
        except TunesmithError as error:
            facts["message"] = error.message
    return facts


def show(facts: dict[str, Any]) -> None:
    """Print what `facts_of` found."""
    if not facts["parts"]:
        say(f"Nothing was started in `{facts['home']}`. Start it with `tunesmith up`.")
        return
    shown = table(
        "part",
        "state",
        "pid",
        "up",
        "restarts",
        "memory",
        "address",
        numbers=("pid", "up", "restarts", "memory"),
    )
    for part in facts["parts"]:
        shown.add_row(
            part["name"],
            Text(tr(part["state"]), style=_COLOURS.get(part["state"], "red")),
            str(part["pid"] or ""),
            duration(part["uptime_seconds"]) if part["uptime_seconds"] else "",
            str(part["restarts"]),
            f"{part['memory_bytes'] / 2**20:.0f} MiB" if part["memory_bytes"] else "",
            part["address"] or "",
        )
    show_table(shown)
    counts = facts["tasks_by_state"]
    if counts is not None:
        words = ", ".join(f"{number} {state_word(state)}" for state, number in sorted(counts.items()))
        out().print(tr(f"Tasks: {words or tr('none yet')}"))
        if runners := facts["warm_runners"]:
            out().print(tr(f"Warm runners ready: {runners}"))
    elif facts["supervised"]:
        warn(f"The API does not answer: {facts.get('message', '')}")

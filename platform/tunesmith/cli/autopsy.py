"""`tunesmith tasks autopsy`: why a task ended, on one page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, TaskArgument, connect
from tunesmith.cli.chart import draw
from tunesmith.cli.format import local_time, plain, size
from tunesmith.cli.output import facts, out, show_json, signs_fit, state_text
from tunesmith.errors import Fault
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith.autopsy import Autopsy

_FAULTS = {
    Fault.USER: "yours: something that the task was given",
    Fault.PLATFORM: "the platform's: please report it",
    Fault.INFRASTRUCTURE: "the infrastructure's: a machine, a disk or the network",
}
_SHOWN_LINES = 10


def autopsy(task: TaskArgument, as_json: JsonFlag = False) -> None:
    """Say why a task ended, whose fault it was, what its workers said last, and what to do next."""
    with connect() as client:
        found = client.monitoring.autopsy(client.task(task).id)
    if as_json:
        show_json(found)
        return
    console = out()
    console.print(facts(_facts(found)))
    title, points = _memory(found)
    if len(points) > 1:
        width = min(console.width, 100)
        console.print()
        console.print(draw(points, width=width, height=6, title=tr(title), ascii_only=not signs_fit(console)))
    for warning in found.warnings[-5:]:
        console.print(Text(plain(f"! {local_time(warning.time)}  {tr(warning.message)}")), soft_wrap=True)
    for worker in found.workers:
        console.print()
        console.print(Text(plain(worker.source), style="bold"))
        for line in worker.lines[-_SHOWN_LINES:]:
            console.print(Text(plain(f"  {line.level:<7} {line.message}")), soft_wrap=True)


def _facts(found: Autopsy) -> Iterator[tuple[str, str | Text | None]]:
    yield "task", f"{found.name}  {found.task_id}"
    yield "state", state_text(found.state)
    yield "cause", found.cause and tr(found.cause)
    yield "message", found.message and tr(found.message)
    yield "fault", tr(_FAULTS[found.fault]) if found.fault else None
    yield "retry", tr("the same again may succeed") if found.is_retryable else None
    yield "ended", local_time(found.ended_at) if found.ended_at else None
    yield "step", f"{found.last_step} / {found.total_steps}" if found.total_steps else None
    last = found.last_checkpoint
    lost = tr(f", {found.steps_lost} steps before the end") if found.steps_lost else ""
    yield "checkpoint", f"{tr('step')} {last.step}{lost}: {last.uri}" if last else tr("none")
    yield "restarts", str(found.restarts) if found.restarts else None
    yield "peak memory", size(found.peak_memory_bytes) if found.peak_memory_bytes else None
    for worker in found.machines:
        gpu = f", GPU {size(worker.gpu_peak_bytes)}" if worker.gpu_peak_bytes is not None else ""
        free = worker.least_free_bytes
        left = tr(f"; at least {size(free)} free") if free is not None else ""
        most = tr(f"at most {size(worker.peak_bytes)} on `{plain(worker.node)}`")
        yield worker.source, f"{most}{gpu}{left}"
    yield "next", found.next_step and tr(found.next_step)


def _memory(found: Autopsy) -> tuple[str, list[tuple[float, float]]]:
    """The memory of the worker that took most, by the clock where its machine was measured, else by step."""
    if found.machines:
        most = max(found.machines, key=lambda worker: worker.peak_bytes)
        if len(most.memory) > 1:
            began = most.memory[0].time
            points = [
                ((point.time - began).total_seconds() / 60, point.value / 2**30) for point in most.memory
            ]
            return f"Memory of {plain(most.source)} (GiB) by minute", points
    return "Memory (GiB) by step", [(float(point.step), point.value / 2**30) for point in found.memory]


def add_to(tasks: typer.Typer) -> None:
    """Add the command to those of tasks."""
    tasks.command("autopsy")(autopsy)

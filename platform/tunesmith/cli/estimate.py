"""`tunesmith estimate`: what a run will take, with the same flags as `tunesmith train`.

Knows how an estimate reads; how it comes about, the server knows.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import duration, plain, size
from tunesmith.cli.output import facts, out, say, show_json, show_notices, table, talk
from tunesmith.cli.train import add_command, check, given_parameters
from tunesmith.client import Client
from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.estimate import EstimateView, Level, MeasurementState

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_FITS = {True: "yes", False: "no", None: "?"}


def _estimate(
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="<file>", help="YAML or JSON of parameters; flags win."),
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="A template whose parameters lie under those given here.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Take two real steps on the longest batch; takes a minute or a few, once."
        ),
    ] = False,
    as_json: JsonFlag = False,
    **flags: Any,
) -> None:
    """Say what a training run will take: steps, checkpoints, tokens, disk, memory, time. Starts nothing.

    Takes every flag of `tunesmith train`. Exits with 1 when it does not fit; nothing is changed by itself.
    """
    _, parameters = given_parameters(config, flags)
    body: dict[str, Any] = {"spec": parameters}
    if template is not None:
        body["template"] = template
    else:
        check(parameters)
    with connect() as client:
        view = client.estimate(body, measure=measure)
        if measure:
            view = _wait(client, view)
    show_notices(view.notices)
    if as_json:
        show_json(view)
    else:
        show_estimate(view, out())
    if view.measurement is not None and view.measurement.state is MeasurementState.FAILED:
        raise TunesmithError(
            f"It could not be measured: {view.measurement.message}", hint="The estimate by formula stands."
        )
    if view.fits is False:
        raise typer.Exit(1)


def _wait(client: Client, view: EstimateView) -> EstimateView:
    """Ask until the measurement is over, over restarts of the server."""
    began = heard = time.monotonic()
    with talk().status("Measuring two steps") as status:
        while view.measurement is not None and view.measurement.state is MeasurementState.MEASURING:
            time.sleep(_POLL_SECONDS)
            status.update(f"Measuring two steps ({duration(time.monotonic() - began)})")
            try:
                view = client.estimation(view.measurement.id)
                heard = time.monotonic()
            except Unavailable:
                if time.monotonic() - heard > _PATIENCE_SECONDS:
                    raise
    return view


def show_estimate(view: EstimateView, console: Console) -> None:
    """Print an estimate for people."""
    data, steps, disk, memory = view.data, view.steps, view.disk, view.memory
    about = "about " if data.is_sample else ""
    looked = f", by a sample of {data.looked_at}" if data.is_sample else ""
    kind = "measured" if view.level is Level.MEASURED else "by formula"
    console.print(
        facts(
            [
                (
                    "rows",
                    f"{about}{data.rows}"
                    + (f" and {data.eval_rows} to evaluate" if data.eval_rows else "")
                    + looked,
                ),
                ("tokens an epoch", f"{about}{data.tokens}, {data.supervised_tokens} of them trained"),
                (
                    "cut",
                    f"{data.cut_share:.1%} of the rows, {data.tokens_lost} tokens"
                    if data.cut_share
                    else None,
                ),
                (
                    "left out",
                    f"{data.dropped_share:.1%} of the rows: nothing to train within `max_length`"
                    if data.dropped_share
                    else None,
                ),
                ("padding", f"{data.padding_share:.0%}; packed {data.padding_share_packed:.0%}"),
                (
                    "steps",
                    f"{steps.total_steps} ({steps.steps_per_epoch} an epoch), {steps.warmup_steps} of them warmup",
                ),
                ("evaluations", str(steps.evaluations) if steps.evaluations else None),
                ("checkpoints", f"{steps.checkpoints}, which is the training quota it takes"),
                (
                    "disk",
                    f"{size(disk.total_bytes)}: {disk.kept} checkpoints of {size(disk.checkpoint_bytes)} and the model"
                    + (f"; {size(disk.free_bytes)} free" if disk.free_bytes is not None else ""),
                ),
                (
                    "trained",
                    f"{view.trainable_parameters:,} of {view.parameters:,} parameters in {view.hardware.precision}",
                ),
                ("memory", f"{size(memory.peak)} {kind}; {_there_is(view.hardware.memory_bytes)}"),
                (
                    "",
                    f"weights {size(memory.weights)}, gradients {size(memory.gradients)}, optimizer "
                    f"{size(memory.optimizer)}, activations {size(memory.activations)}, logits {size(memory.logits)}, "
                    f"libraries {size(memory.framework)}",
                ),
                (
                    "time",
                    f"{duration(view.time.total_seconds)}: {view.time.seconds_per_step:.2f} s a step, "
                    f"{duration(view.time.start_seconds)} to start; from {view.time.source}",
                ),
            ]
        )
    )
    if view.settings:
        shown = table("needs less", "memory", "s/step", "fits", numbers=("memory", "s/step"))
        for setting in view.settings:
            shown.add_row(
                Text(plain(setting.name)),
                size(setting.memory.peak),
                f"{setting.seconds_per_step:.2f}",
                _FITS[setting.fits],
            )
        console.print()
        console.print(shown)
    if view.fits:
        say("It fits.")
    elif view.fits is None:
        say("Whether it fits is not known: the cluster does not say how much memory its workers have.")
    else:
        say(f"It does not fit. {view.recommendation}")


def _there_is(memory_bytes: int | None) -> str:
    return (
        "how much there is, the cluster does not say"
        if memory_bytes is None
        else f"{size(memory_bytes)} there is"
    )


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    add_command(app, "estimate", _estimate)

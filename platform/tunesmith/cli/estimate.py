"""`tunesmith estimate`: what a run will take, with the same flags as `tunesmith train`.

Knows how an estimate reads; how it comes about, the server knows.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, connect
from tunesmith.cli.format import duration, plain, size
from tunesmith.cli.output import facts, out, say, show_json, show_notices, show_table, table, talk
from tunesmith.cli.train import add_command, check
from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.estimate import EstimateView, Level, MeasurementState
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith.client import Client

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0
_FITS = {True: "yes", False: "no", None: "?"}


def _estimate(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="YAML or JSON of parameters; flags win.")
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="<file>", help="The same as `FILE`."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="A template whose parameters lie under those given here.",
            autocompletion=completion.templates,
        ),
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
    from tunesmith.cli.given import given_training

    given = given_training(file, config, flags, template)
    body: dict[str, Any] = {"spec": given.parameters}
    if template is not None:
        body["template"] = template
    else:
        check(given.parameters)
    show_notices(given.notices)
    with connect() as client:
        body["spec"] = given.ready(client)
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
    with talk().status(tr("Measuring two steps")) as status:
        while view.measurement is not None and view.measurement.state is MeasurementState.MEASURING:
            time.sleep(_POLL_SECONDS)
            status.update(tr(f"Measuring two steps ({duration(time.monotonic() - began)})"))
            try:
                view = client.estimation(view.measurement.id)
                heard = time.monotonic()
            except Unavailable:
                if time.monotonic() - heard > _PATIENCE_SECONDS:
                    raise
    return view


_FINAL = {"adapter": "an adapter", "full": "a whole model", "merged": "a merged model"}


def show_estimate(view: EstimateView, console: Console) -> None:
    """Print an estimate for people."""
    data, steps, disk, memory = view.data, view.steps, view.disk, view.memory
    about = tr("about ") if data.is_sample else ""
    looked = tr(f", by a sample of {data.looked_at}") if data.is_sample else ""
    kind = tr("measured" if view.level is Level.MEASURED else "by formula")
    console.print(
        facts(
            [
                (
                    "rows",
                    f"{about}{data.rows}"
                    + (tr(f" and {data.eval_rows} to evaluate") if data.eval_rows else "")
                    + looked,
                ),
                ("tokens an epoch", about + tr(f"{data.tokens}, {data.supervised_tokens} of them trained")),
                (
                    "cut",
                    tr(f"{data.cut_share:.1%} of the rows, {data.tokens_lost} tokens")
                    if data.cut_share
                    else None,
                ),
                (
                    "left out",
                    tr(f"{data.dropped_share:.1%} of the rows: nothing to train within `max_length`")
                    if data.dropped_share
                    else None,
                ),
                ("padding", tr(f"{data.padding_share:.0%}; packed {data.padding_share_packed:.0%}")),
                (
                    "packing",
                    tr("each document is computed as a row of its own: in this model it would see the others")
                    if data.is_unpacked
                    else None,
                ),
                (
                    "steps",
                    tr(
                        f"{steps.total_steps} ({steps.steps_per_epoch} an epoch), {steps.warmup_steps} of them warmup"
                    ),
                ),
                ("evaluations", str(steps.evaluations) if steps.evaluations else None),
                ("final model", tr(_FINAL[disk.final_kind]) if disk.final_kind in _FINAL else None),
                ("checkpoints", tr(f"{steps.checkpoints}, which is the training quota it takes")),
                (
                    "disk",
                    tr(
                        f"{size(disk.total_bytes)}: {disk.kept} checkpoints of {size(disk.checkpoint_bytes)} "
                        f"and the model of {size(disk.final_bytes)}"
                    )
                    + (tr(f"; {size(disk.free_bytes)} free") if disk.free_bytes is not None else ""),
                ),
                (
                    "trained",
                    tr(
                        f"{view.trainable_parameters:,} of {view.parameters:,} parameters in {view.hardware.precision}"
                    ),
                ),
                ("memory", f"{size(memory.peak)} {kind}; {_there_is(view.hardware.memory_bytes)}"),
                (
                    "",
                    tr(
                        f"weights {size(memory.weights)}, gradients {size(memory.gradients)}, optimizer "
                        f"{size(memory.optimizer)}, activations {size(memory.activations)}, logits "
                        f"{size(memory.logits)}, libraries {size(memory.framework)}"
                    ),
                ),
                (
                    "time",
                    tr(
                        f"{duration(view.time.total_seconds)}: {view.time.seconds_per_step:.2f} s a step, "
                        f"{duration(view.time.start_seconds)} to start; from {view.time.source}"
                    ),
                ),
            ]
        )
    )
    if view.settings:
        shown = table("needs less", "memory", "s/step", "fits", numbers=("memory", "s/step"))
        for setting in view.settings:
            shown.add_row(
                Text(plain(tr(setting.name))),
                size(setting.memory.peak),
                f"{setting.seconds_per_step:.2f}",
                tr(_FITS[setting.fits]),
            )
        console.print()
        show_table(shown, console)
    if view.fits:
        say("It fits.")
    elif view.fits is None:
        say("Whether it fits is not known: the cluster does not say how much memory its workers have.")
    else:
        say("It does not fit.")
        if view.recommendation:
            say(view.recommendation)


def _there_is(memory_bytes: int | None) -> str:
    if memory_bytes is None:
        return tr("how much there is, the cluster does not say")
    return tr(f"{size(memory_bytes)} there is")


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    add_command(app, "estimate", _estimate)

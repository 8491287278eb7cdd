"""`--dry-run`: every parameter as a task would keep it, and who said it: a file, an option, a template, a default.

Knows what was given; what is wrong with it, the server looks at where it is reached.
"""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from tunesmith.cli.arguments import connect
from tunesmith.cli.given import GivenTraining, words_of
from tunesmith.cli.output import out, say, show_json, show_notices
from tunesmith.cli.parameters import shown
from tunesmith.cli.train import FILES
from tunesmith.client import Client
from tunesmith.errors import CannotConnect, TunesmithError
from tunesmith.language import tr
from tunesmith.spec.base import Notice
from tunesmith.spec.parameter import about
from tunesmith.spec.training import TrainSpec

_DEFAULT = "default"
_WIDEST = 60
"""Characters of a value after which the next column begins anyhow."""


def show_dry_run(given: GivenTraining, body: Mapping[str, Any], as_json: bool) -> None:
    """Print what a training would be, and start nothing.

    Args:
        given: What the user gave.
        body: What would be sent.
        as_json: Whether to print JSON.

    Raises:
        TunesmithError: What is given cannot be trained on; raised once everything is printed.
    """
    problem: TunesmithError | None = None
    looked = False
    checked: list[str] = []
    notices = list(given.notices)
    template, layers = body.get("template"), list(given.layers)
    spec: TrainSpec | None = None
    try:
        with connect() as client:
            if template is not None:
                layers.insert(0, (f"template {template}", dict(client.templates.get(template).parameters)))
            spec = _together(layers, given)
            notices += spec.notices
            checked, looked = _checked(client, given, body)
            said = (
                "The platform's checks found nothing wrong."
                if looked
                else "The platform looks at it once its rows are there."
            )
    except CannotConnect as error:
        if template is not None:
            raise
        spec = spec or _together(layers, given)
        notices += spec.notices
        said = f"The platform's own checks were not made: {error.message}"
    except TunesmithError as error:
        if spec is None:
            raise
        problem, said = error, "The platform would refuse it."
    rows = _resolved(spec, given, layers)
    if as_json:
        task = {key: value for key, value in body.items() if key != "spec"}
        found = {
            "task": task,
            "parameters": rows,
            "notices": _once(notices),
            "checked": looked,
            "problems": problem.problems if problem else [],
        }
        show_json(found)
    else:
        show_notices(_once(notices))
        _show(rows)
    for line in [*checked, said, "Nothing was started."]:
        say(line)
    if problem is not None:
        raise problem


def _together(layers: list[tuple[str, dict[str, Any]]], given: GivenTraining) -> TrainSpec:
    """All parameters, with the defaults that follow from others."""
    found: dict[str, Any] = {}
    for _, said in layers:
        found = TrainSpec.merged(found, said)
    return TrainSpec.read(TrainSpec.merged(found, given.parameters))


def _resolved(
    spec: TrainSpec, given: GivenTraining, layers: list[tuple[str, dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """Each parameter's value and where it comes from."""
    found: dict[str, dict[str, Any]] = {}
    for name, info in TrainSpec.model_fields.items():
        who = next((origin for origin, said in reversed(layers) if name in said), _DEFAULT)
        value = getattr(spec, name)
        if name in given.sources:
            value = [str(source) for source in given.sources[name]]
        if who == _DEFAULT:
            reason = _because(spec, name)
            who = f"{_DEFAULT}, {reason}" if reason else who
        found[name] = {"value": value, "from": who}
        if not about(info).visible(spec.__dict__):
            found[name]["has_effect"] = False
    return found


def _because(spec: TrainSpec, name: str) -> str:
    """Of which other parameters a default follows."""
    for rule in about(TrainSpec.model_fields[name]).default_when:
        if all(condition.holds(spec.__dict__) for condition in rule.when):
            return "as " + " and ".join(map(str, rule.when))
    return ""


def _checked(client: Client, given: GivenTraining, body: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Have the server look at it: what it found or could not look at yet, in words, and whether it looked."""
    lines: list[str] = []
    spec = dict(body["spec"])
    for sources in given.sources.values():
        hub = [source for source in sources if source.is_hub]
        if hub:
            lines.append(f"{words_of(hub)}: loaded from the Hub first, and looked at then.")
    trains, held = (
        [source.path for source in given.sources[name] if not source.is_hub]
        if name in given.sources
        else [str(spec.get(name, ""))]
        for name in FILES
    )
    if not trains:
        return lines, False
    if "eval_file" in given.sources:  # its rows stand in for those that are not there yet
        spec["eval_file"] = (held or trains)[0]
    for path in trains:
        spec["train_file"] = path
        view = client.check_task({**body, "spec": spec})
        if view.rows is not None:
            lines.append(f"{path}: {view.rows} rows.")
    return lines, True


def _once(notices: list[Notice]) -> list[Notice]:
    return list({notice.message: notice for notice in notices}.values())


def _show(rows: Mapping[str, Mapping[str, Any]]) -> None:
    lines = [(tr("parameter"), tr("value"), tr("from"))]
    for name, row in rows.items():
        value = row["value"]
        joined = name in FILES and isinstance(value, list)
        lines.append((name, " + ".join(value) if joined else shown(value), row["from"]))
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    console = out()
    for name, value, origin in lines:
        style = "dim" if origin.startswith(_DEFAULT) and not origin.startswith(f"{_DEFAULT} of") else ""
        line = f"{name:<{widths[0]}}  {value:<{min(widths[1], _WIDEST)}}  {tr(origin)}"
        console.print(Text(line.rstrip(), style=style), soft_wrap=True)

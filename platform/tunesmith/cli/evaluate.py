"""`tunesmith evaluate TASK`: which checkpoint is best, is the difference real, is any better than the base.

With `--gate` its exit code answers whether a release may go out: 0 yes, 1 no, 2 so many samples cannot tell, 4 it could
not be asked.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tunesmith.cli.arguments import (
    ForceFlag,
    JsonFlag,
    LanguageOption,
    OutputOption,
    SettingsOption,
    TaskArgument,
    WatchFlag,
    absolute_paths,
    connect,
    is_followed,
    pairs,
)
from tunesmith.cli.format import number
from tunesmith.cli.gate import NOT_ASKED, pass_gate, told_apart, will_be_there
from tunesmith.cli.output import (
    EXIT_CODES,
    facts,
    out,
    say,
    show_json,
    show_notices,
    show_table,
    table,
)
from tunesmith.errors import InvalidInput
from tunesmith.language import Language, choose, current, tr

if TYPE_CHECKING:
    from tunesmith.client import Client
    from tunesmith.evaluation_views import EvaluationView

_SHOWN = (
    "composite",
    "accuracy",  # where samples have classes
    "macro_f1",
    "judge",  # where there is one, its user asked for it
    "similarity",
    "keyword_coverage",
    "perplexity",
    "format",
    "length",
    "rouge_l",
    "token_f1",
)
_FIRST = ("composite", "judge", "accuracy", "macro_f1")
"""What stands before the user's own scores."""
_MOST_COLUMNS = 6
evaluations = typer.Typer(
    name="evaluations", help="Evaluations: what they found, reports, tables.", no_args_is_help=True
)


def evaluate(
    task: TaskArgument,
    *,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            "-c",
            help="A step, `final`, `TASK:40`, a folder or a model's name; may be given again. All if not given.",
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            help="A sample file, a data set's name, or `default`; the task's evaluation rows if not given."
        ),
    ] = None,
    max_samples: Annotated[
        int | None, typer.Option(min=5, max=10_000, help="At most so many samples.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer at most.")] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            metavar="NAME",
            help="A benchmark of lm-eval that each candidate takes too (`tunesmith[benchmarks]`); may be given again.",
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="`quick`: 5 to 20 samples and drawn answers, for a first look.")
    ] = None,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Ask the base model too.")] = True,
    settings: SettingsOption = None,
    gate: Annotated[
        str | None,
        typer.Option(
            "--gate",
            metavar="AGAINST",
            help="Exit with 0 only if nothing is lost against this candidate (`base`, a step), 1 for a loss, "
            "2 where so many samples cannot tell, 4 where it could not be asked.",
        ),
    ] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="How large a loss `--gate` lets pass.")] = 0.02,
    name: Annotated[str | None, typer.Option("--name", help="Shown name; made if not given.")] = None,
    project: Annotated[
        str, typer.Option("--project", help="The MLflow experiment it belongs to.")
    ] = "default",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many answers, how much time and memory; start nothing.")
    ] = False,
    watch: WatchFlag = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Score a task's checkpoints by their answers to samples, and compare them with each other and the base."""
    from tunesmith.cli.forecast import show_forecast
    from tunesmith.cli.watching import followed
    from tunesmith.spec.evaluation import EvaluateSpec, is_evaluation, new_evaluation

    choose(lang)
    given: dict[str, Any] = {
        "checkpoints": checkpoints,
        "sample_file": samples,
        "max_samples": max_samples,
        "max_new_tokens": max_new_tokens,
        "benchmarks": benchmarks,
        "preset": preset,
    }
    spec = {key: value for key, value in given.items() if value is not None}
    if not base:
        spec["include_base"] = False
    spec = EvaluateSpec.merged(pairs(settings), spec)
    with told_apart(gate), connect() as client:
        view = client.task(task)
        if is_evaluation(view.kind) and gate is not None:  # one that is there already
            pass_gate(client, view.id, gate, margin, checkpoints, as_json)
        spec = {"task_id": view.id} | absolute_paths(spec, partial(_about, EvaluateSpec))
        spec.setdefault("checkpoints", ["all"])
        if gate is not None:
            will_be_there(spec, gate)
        more = {"project": project} | ({"name": name} if name is not None else {})
        body = new_evaluation(spec, **more)
        if dry_run:
            forecast = client.forecast_evaluation(body)
            show_json(forecast) if as_json else show_forecast(forecast, out())
            return
        made = client.create_task(body)
        show_notices(made.notices)
        if as_json and gate is None:
            show_json(made)
            return
        say(f"Task `{made.name}` is {made.state}: {made.id}")
        if gate is not None or is_followed(watch):
            code = followed(client, made.id)
            if not code and gate is None:
                _show(client, made.id)
            if code or gate is None:
                is_no_answer = gate is not None and code in EXIT_CODES.values()
                raise typer.Exit(NOT_ASKED if is_no_answer else code)
            pass_gate(client, made.id, gate, margin, checkpoints, as_json)
    sys.stdout.write(made.id + "\n")


def _about(spec: type[Any], name: str) -> Any:
    from tunesmith.spec.parameter import about

    known = (
        about(info) for field, info in spec.model_fields.items() if name in (field, *about(info).aliases)
    )
    return next(known, None)


@evaluations.command("list")
def list_evaluations(
    task: Annotated[str | None, typer.Option("--task", help="Only those of this task's checkpoints.")] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what evaluations found, newest first."""
    choose(lang)
    with connect() as client:
        found = client.evaluations(client.task(task).id if task else None)
    if as_json:
        show_json(found)
        return
    if not found:
        say("Nothing was evaluated yet: `tunesmith evaluate TASK`.")
        return
    shown = table("evaluation", "recommended", "found")
    for one in found:
        shown.add_row(one.task_id, one.recommended or "", one.sentence.get(_language(), ""))
    show_table(shown)


@evaluations.command("show")
def show_evaluation(task: TaskArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Show an evaluation: each candidate's scores, and what may be said of the differences."""
    choose(lang)
    with connect() as client:
        task_id = client.task(task).id
        if as_json:
            show_json(client.evaluation(task_id))
            return
        _show(client, task_id)


@evaluations.command("report")
def report(
    task: TaskArgument,
    file: OutputOption = None,
    lang: LanguageOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the report, `TASK.html`: a page that stands by itself, with plots, tables and answers."""
    from tunesmith.removal import new_file

    choose(lang)
    with connect() as client:
        view = client.task(task)
        page = client.evaluation_report(view.id, _language())
    target = file or Path(f"{view.name}.html")
    with new_file(target, overwrite=force) as stream:
        stream.write(page.encode())
    if as_json:
        show_json({"file": str(target.absolute())})
    else:
        say(f"The report lies in `{target}`.")


@evaluations.command("export")
def export(
    task: TaskArgument,
    which: Annotated[str, typer.Option("--table", help="`answers` or `candidates`.")] = "candidates",
    as_json: JsonFlag = False,
) -> None:
    """Print a table as CSV: a row an answer, or a row a candidate."""
    if which not in ("answers", "candidates"):
        raise InvalidInput(
            f"There is no table `{which}`.", hint="`answers` or `candidates`.", field="--table"
        )
    with connect() as client:
        if as_json:
            found = client.evaluation_result(client.task(task).id).candidates
            show_json(
                [one if which == "answers" else one.model_copy(update={"answers": ()}) for one in found]
            )
            return
        sys.stdout.write(
            client.evaluation_table(client.task(task).id, "answers" if which == "answers" else "candidates")
        )


def _language() -> Any:
    return "zh" if current() is Language.ZH else "en"


def _show(client: Client, task_id: str) -> None:
    view = client.evaluation(task_id)
    show_table(_scores(view))
    if (benchmarks := _benchmarks(view)) is not None:
        show_table(benchmarks)
    said = view.sentence.get(_language())
    rows: list[tuple[str, str | Text | None]] = [
        ("found", said),
        ("recommended", view.recommended),
        ("report", view.uri and f"tunesmith evaluations report {view.task_id}"),
    ]
    out().print(facts(rows))


def _columns(measured: Collection[str]) -> list[str]:
    """The scores that have a column: the user's own stand behind the first ones, what there is no room for is left."""
    from tunesmith.evaluation.results import BENCHMARK_PREFIX
    from tunesmith.evaluation.scores import INFO

    own = sorted(
        name for name in measured
        if name not in _SHOWN and name not in INFO and not name.startswith(BENCHMARK_PREFIX)
    )  # fmt: skip
    first = [name for name in _FIRST if name in measured]
    rest = [name for name in _SHOWN if name in measured and name not in first]
    return [*first, *own, *rest][: max(_MOST_COLUMNS, len(first) + len(own))]


def _benchmarks(view: EvaluationView) -> Table | None:
    """What candidates have of benchmarks; None where they took none."""
    from tunesmith.evaluation.results import BENCHMARK_PREFIX

    names = sorted(
        {name for one in view.candidates for name in one.means if name.startswith(BENCHMARK_PREFIX)}
    )
    if not names:
        return None
    shown = table(
        "benchmark", *(one.label for one in view.candidates), numbers=[one.label for one in view.candidates]
    )
    for name in names:
        cells = [number(one.means[name]) if name in one.means else "" for one in view.candidates]
        shown.add_row(name.removeprefix(BENCHMARK_PREFIX), *cells)
    return shown


def _scores(view: EvaluationView) -> Table:
    names = _columns({name for one in view.candidates for name in one.means})
    shown = table("candidate", "answers", *names, numbers=names)
    for one in view.candidates:
        style = "bold" if one.candidate == view.recommended else ""
        cells = [number(one.means[name]) if name in one.means else "" for name in names]
        shown.add_row(Text(one.label, style=style), f"{one.answered}/{one.total}", *cells)
    shown.title = tr("scores")
    return shown


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command("evaluate")(evaluate)
    app.add_typer(evaluations)

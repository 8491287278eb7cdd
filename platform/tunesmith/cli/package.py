"""`tunesmith package TASK`: a trained model as GGUF files for llama.cpp, each read back and held against the model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.arguments import (
    JsonFlag,
    LanguageOption,
    SettingsOption,
    TaskArgument,
    WatchFlag,
    absolute_paths,
    connect,
    is_followed,
    pairs,
)
from tunesmith.cli.output import facts, out, say, show_json, show_notices, show_table, table
from tunesmith.language import Language, choose, current

if TYPE_CHECKING:
    from tunesmith.client import Client
    from tunesmith.package_views import PackagedFileView, PackageView
    from tunesmith.spec.package import PackageSpec

_PRESET = "merge_and_quantize"
_PLAIN = "F16"
"""The type of a file that is not quantised."""
packages = typer.Typer(
    name="packages", help="Packages: their files, what was proven of each, downloads.", no_args_is_help=True
)


def package(
    task: TaskArgument,
    *,
    checkpoint: Annotated[
        int | None,
        typer.Option(
            "--checkpoint",
            "-c",
            help="The step of its checkpoint; the recommended one, the best, or the last if not given.",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            help="What a file is stored as: `Q4_K_M`, `Q8_0`, `F16`, ...; may be given again. Q4_K_M if not given.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="`merge_and_quantize`, `merge_only`, `quantize_base`, `lora_only`, `custom`, or `model_folder`."
        ),
    ] = None,
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", help="A folder in which the files are published too.")
    ] = None,
    settings: SettingsOption = None,
    accept_license: Annotated[
        bool,
        typer.Option(
            "--accept-license",
            help="That you have read the base's license, where it limits who may be given a package.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check it, say what the license asks and what the files will take, and start nothing.",
        ),
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="Shown name; made if not given.")] = None,
    project: Annotated[
        str, typer.Option("--project", help="The MLflow experiment it belongs to.")
    ] = "default",
    watch: WatchFlag = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a task's model as GGUF files, read each back in llama.cpp, and compare it with the model."""
    from tunesmith.cli.watching import followed
    from tunesmith.spec.package import PackageSpec, new_package

    choose(lang)
    given: dict[str, Any] = {
        "checkpoint": checkpoint,
        "quant_types": types,
        "preset": preset,
        "output_dir": output_dir,
        "accept_license": accept_license or None,
    }
    spec = PackageSpec.merged(
        pairs(settings), {key: value for key, value in given.items() if value is not None}
    )
    spec.setdefault("preset", _PRESET)
    with connect() as client:
        spec = {"task_id": client.task(task).id} | absolute_paths(spec, partial(_about, PackageSpec))
        new = new_package(spec, project=project, **({"name": name} if name is not None else {}))
        # What the license asks is read before anything is begun.
        checked = client.check_task(new)
        show_notices(checked.notices)
        if dry_run:
            if as_json:
                show_json(checked)
            else:
                say("It can be packaged. Nothing was started.")
                _show_sizes(client, PackageSpec.read(spec))
            return
        made = client.create_task(new)
        show_notices([one for one in made.notices if one not in checked.notices])
        if as_json:
            show_json(made)
            return
        say(f"Task `{made.name}` is {made.state}: {made.id}")
        if is_followed(watch):
            code = followed(client, made.id)
            if not code and spec["preset"] != "model_folder":
                _show(client, made.id)
            if code:
                raise typer.Exit(code)
            return
    typer.echo(made.id)


def _show_sizes(client: Client, spec: PackageSpec) -> None:
    """What the files of the whole model will take, as far as it can be said without making them."""
    wanted = {one or _PLAIN for one in spec.file_types}
    if not wanted or spec.task_id is None:
        return
    known = client.which_package(spec.task_id, checkpoint=spec.checkpoint).rows
    rows = [row for row in known if row.type in wanted]
    if not rows:
        return
    shown = table("type", "size", numbers=["size"])
    for row in rows:
        shown.add_row(row.type, f"{'' if row.file else '~'}{row.bytes / 1e6:.1f} MB")
    show_table(shown)
    if len(rows) == len(wanted):
        say(f"That is {sum(row.bytes for row in rows) / 1e6:.1f} MB in all.")


def _about(spec: type[Any], name: str) -> Any:
    from tunesmith.spec.parameter import about

    known = (
        about(info) for field, info in spec.model_fields.items() if name in (field, *about(info).aliases)
    )
    return next(known, None)


@packages.command("show")
def show_package(task: TaskArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Show a package's files: sizes, sums, and what was proven of each."""
    choose(lang)
    with connect() as client:
        task_id = client.task(task).id
        if as_json:
            show_json(client.packaged(task_id))
            return
        _show(client, task_id)


def _show(client: Client, task_id: str) -> None:
    view = client.packaged(task_id)
    shown = table(
        "file",
        "size",
        "difference (KL)",
        "same token",
        "proof",
        numbers=["size", "difference (KL)", "same token"],
    )
    for one in view.files:
        shown.add_row(
            one.name if not one.parts else f"{one.name} (1 of {len(one.parts)})",
            f"{one.bytes / 1e6:.1f} MB",
            "" if one.kl_mean is None else f"{one.kl_mean:.2g}",
            "" if one.top1 is None else f"{one.top1:.1%}",
            _verdict(one),
        )
    show_table(shown)
    from tunesmith.language import tr

    language = "zh" if current() is Language.ZH else "en"
    rows: list[tuple[str, Any]] = [
        ("folder", view.uri),
        ("checkpoint", str(view.step) if view.step else None),
        ("importance matrix", _matrix(view)),
    ]
    rows += [
        ("", tr(f"`{one.name}` was made before, by package `{one.taken_from}`: it was taken from there."))
        for one in view.files
        if one.taken_from
    ]
    rows += [("", one.sentence.get(language)) for one in view.files if one.verdict != "proven"]
    out().print(facts(rows))


def _matrix(view: PackageView) -> str | None:
    from tunesmith.language import tr

    made = view.importance
    if made is None:
        return None
    return tr(f"{made.tokens} tokens of {', '.join(made.sources)}: `{made.name}`")


def _verdict(one: PackagedFileView) -> str:
    from tunesmith.language import tr

    return tr({"proven": "proven", "not_proven": "not proven", "failed": "not the model"}[one.verdict])


def add_to(app: typer.Typer) -> None:
    """Add the commands to an app."""
    from tunesmith.cli import package_files, package_room
    from tunesmith.cli.package_which import which

    app.command("package")(package)
    package_files.add_to(packages)
    package_room.add_to(packages)
    packages.command("which")(which)
    app.add_typer(packages)

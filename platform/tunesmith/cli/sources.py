"""Data sets that a training needs and that are not there yet: loaded from the Hub, and mixed, each as a task on data.

What is made is a version of a data set like any other, so that a run goes on exactly and each step leads to its rows.
Knows the client; how rows are read and mixed, the jobs know.
"""

from collections.abc import Sequence
from typing import Any

from tunesmith import views
from tunesmith.cli.output import say, talk
from tunesmith.client import Client
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.lifecycle import State
from tunesmith.other_tools.sources import Source


def made(
    client: Client, sources: Sequence[Source], field: str, *, seed: int = 42, shows: bool | None = None
) -> str:
    """The data set that several sources are, as `name@number`.

    Args:
        client: The platform.
        sources: What it is made of.
        field: The parameter that names them.
        seed: Decides which rows are drawn, and their order.
        shows: Whether to show how far it is; by default on a terminal.

    Raises:
        InvalidInput: One cannot be loaded, or they cannot be mixed.
    """
    names = [_loaded(client, source, field, shows) if source.is_hub else source.path for source in sources]
    if len(sources) == 1 and sources[0].rows is None:
        return names[0]
    parameters: dict[str, Any] = {"datasets": names, "seed": seed, "stop": "all_exhausted"}
    if sources[0].weight is not None:
        parameters |= {"weights": [source.weight for source in sources], "stop": "first_exhausted"}
    if any(source.rows is not None for source in sources):
        parameters["limits"] = [source.rows or 0 for source in sources]
    task = client.datasets.run("mix", parameters)
    return _version(client, task, f"{len(sources)} data sets are mixed", field, shows)


def say_parts(client: Client, dataset: str) -> None:
    """Say how many rows each data set gave, where a data set was mixed of several."""
    if "/" in dataset or "." in dataset:
        return
    version = client.datasets.show(dataset).versions[0]
    if version.lineage is not None and version.lineage.parts:
        words = ", ".join(map(str, version.lineage.parts))
        say(f"`{dataset}` holds {words}.")


def _loaded(client: Client, source: Source, field: str, shows: bool | None) -> str:
    parameters = source.loads | {"provider": "huggingface"}
    task = client.datasets.run("load", parameters, _name(source))
    return _version(client, task, f"`{source}` is loaded from the Hub", field, shows)


def _name(source: Source) -> str:
    """The data set that a Hub data set becomes: split and configuration are part of its name."""
    parts = [source.path.replace("/", "-"), source.name, source.split if source.split != "train" else None]
    words = "-".join(part for part in parts if part)
    return "".join(sign if sign.isalnum() or sign in "_-" else "-" for sign in words)[:100].strip("-")


def _version(client: Client, task: views.TaskView, doing: str, field: str, shows: bool | None) -> str:
    """Wait for a task on data; the version that it made."""
    console = talk()
    say(f"{doing}: task {task.id}.")
    from tunesmith.cli.watching import watch_task  # much to import for one who only looks at a file

    is_shown = console.is_terminal if shows is None else shows
    task = watch_task(client, task.id, console) if is_shown else client.wait(task.id)
    if task.state is State.COMPLETED and task.datasets:
        say_parts(client, task.datasets[0])
        return task.datasets[0]
    why = task.message or f"Task `{task.id}` is {task.state}."
    hint = task.next_step or f"See `tunesmith tasks logs {task.id}`."
    kind = InvalidInput if task.state is State.STOPPED else InvalidData
    raise kind(f"{doing[0].upper()}{doing[1:]}, and that came to nothing: {why}", field=field, hint=hint)

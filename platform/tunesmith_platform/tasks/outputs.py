"""Whether a task may write into the folder that its user names: nothing that is there may be lost by it.

A task lays `model` and `checkpoint-<step>` into its `output_dir`. What stands there already and is not its own is
refused by name; so is a folder in what the task reads, in another task's result, or in the platform's own part of the
disk. The job looks again at every result that it publishes (`tunesmith.removal`). Knows paths; asks no database.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from tunesmith.artifacts import FINAL_MODEL, checkpoint_step
from tunesmith.errors import InvalidInput, NotOurs
from tunesmith.removal import MARK, require_place, writer_of
from tunesmith.spec.base import Notice
from tunesmith.storage import local_path
from tunesmith_platform.paths import allowed_path
from tunesmith_platform.settings import Settings

_ELSEWHERE = "Name a folder of its own, such as one beside it."


def output_folder(given: str | None, settings: Settings) -> Path | None:
    """The folder that a user names for results, links followed; a relative one lies below the platform's own.

    Raises:
        PathNotAllowed: It lies outside the folders that may be used.
        InvalidInput: It is a file, or a relative path that leads out.
    """
    if not given:
        return None
    relative = Path(given)
    if relative.is_absolute():
        output = allowed_path(given, settings.roots())
    else:
        if ".." in relative.parts or not relative.parts or relative.parts[0].startswith("~"):
            raise InvalidInput(
                f"`{given}` names no folder below the platform's folder of outputs.",
                hint="Write `checkpoints/mine`, or an absolute path.",
            )
        below = Path(os.path.realpath(settings.outputs_dir))
        output = allowed_path(str(below / relative), [below])
    if output.exists() and not output.is_dir():
        raise InvalidInput(f"`{given}` is a file.", hint="Name a folder.")
    return output


def resolved_output(given: str | None, output: str | None) -> list[Notice]:
    """Where a relative path led, in words."""
    if given is None or output is None or Path(given).is_absolute():
        return []
    return [Notice(field="output_dir", message=f"`output_dir={given}` is `{output}` on the platform.")]


def check_output(output: Path, reads: Mapping[str, Path | None], settings: Settings) -> None:
    """Refuse a folder in which results would land on what the task reads, or on what is not its user's.

    Args:
        output: The folder, links followed.
        reads: What the task reads, by what it is called in a sentence.
        settings: Where the platform's own folders are.

    Raises:
        InvalidInput: They would.
    """
    for name, given in [*reads.items(), *_own_folders(settings).items()]:
        if given is None:
            continue
        place = Path(os.path.realpath(given))
        if output == place or output.is_relative_to(place):
            raise InvalidInput(f"`{output}` is {name}, or lies inside it: `{place}`.", hint=_ELSEWHERE)
        if place.is_relative_to(output) and is_result(place.relative_to(output).parts[0]):
            landing = output / place.relative_to(output).parts[0]
            raise InvalidInput(
                f"The task's `{landing.name}` would land on {name}: `{place}`.", hint=_ELSEWHERE
            )
    for folder in (output, *output.parents):
        writer = writer_of(folder)
        if writer is not None:
            raise InvalidInput(f"`{output}` lies in what task `{writer}` saved: `{folder}`.", hint=_ELSEWHERE)
        if (folder / MARK).is_file():
            raise InvalidInput(f"`{output}` lies in the platform's own folder `{folder}`.", hint=_ELSEWHERE)


def refuse_taken(
    output_dir: str | None, task_id: str = "", *, results: tuple[str, ...] | None = None
) -> None:
    """Keep what stands where a task's results would go, unless the task saved it itself.

    Args:
        output_dir: The folder.
        task_id: The task, where it has one already.
        results: The results that it will have; a training's when None.

    Raises:
        NotOurs: Something stands there: another task's model, or a folder or file of the user's own.
    """
    if output_dir is None:
        return
    folder = Path(output_dir)
    try:
        there = sorted(
            (entry.name for entry in folder.iterdir()), key=lambda name: (name != FINAL_MODEL, name)
        )
    except OSError:
        return  # not there yet, or closed to us: who writes says so
    for name in there:
        if name in results if results is not None else is_result(name):
            try:
                require_place(folder / name, task_id)
            except NotOurs as error:
                raise NotOurs(
                    error.message, hint=error.hint, field="spec.output_dir", details=error.details
                ) from None


def is_result(name: str) -> bool:
    """Whether a training calls a folder so that it publishes."""
    return name == FINAL_MODEL or checkpoint_step(name) is not None


def _own_folders(settings: Settings) -> dict[str, Path | None]:
    return {
        "the platform's storage": local_path(settings.storage_uri),
        "the platform's work folder": settings.work_dir,
        "the platform's folder of uploads": settings.home / "uploads",
    }

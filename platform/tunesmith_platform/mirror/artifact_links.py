"""Lets a run's own artifact folder show what a task left elsewhere: MLflow was away at its start, or emptied since.

On one machine by hard links: one copy with two names. In S3 the run's tag says the place instead. Knows folders; knows
no run and no database.
"""

import contextlib
import os
import shutil

from tunesmith.artifacts import CHECKPOINTS, checkpoint_name
from tunesmith.removal import MARK, remove_result, writer_of
from tunesmith.storage import local_path


def show(run_uri: str, uri: str) -> None:
    """Show a checkpoint.

    Args:
        run_uri: The run's artifact folder.
        uri: Where the checkpoint lies.
    """
    source, artifacts = local_path(uri), local_path(run_uri)
    if source is None or artifacts is None or source.is_relative_to(artifacts) or not source.is_dir():
        return
    target = artifacts / CHECKPOINTS / source.name
    if not target.exists():
        with contextlib.suppress(OSError):  # another file system: the tag says where it lies
            shutil.copytree(source, target, copy_function=os.link)


def hide(run_uri: str, task_uri: str | None, step: int, task_id: str) -> None:
    """Take back what `show` did: the task removed the checkpoint. What is not the task's stays."""
    artifacts = local_path(run_uri)
    if artifacts is None or task_uri is None or local_path(task_uri) == artifacts:
        return
    shown = artifacts / CHECKPOINTS / checkpoint_name(step)
    if writer_of(shown) == task_id:
        with contextlib.suppress(OSError):
            remove_result(shown, task_id)


def show_rest(run_uri: str, task_uri: str | None, hidden: tuple[str, ...] = ()) -> None:
    """Show what else a task that has ended left: its model, its trackers' files.

    Args:
        run_uri: The run's artifact folder.
        task_uri: The task's.
        hidden: What is not shown: a second name for its bytes would keep them once the task's are removed.
    """
    source, artifacts = local_path(task_uri or run_uri), local_path(run_uri)
    if source is None or artifacts is None or source == artifacts or not source.is_dir():
        return
    with contextlib.suppress(OSError):
        artifacts.mkdir(parents=True, exist_ok=True)
        for item in source.iterdir():
            target = artifacts / item.name
            if item.name in (CHECKPOINTS, MARK, *hidden) or item.is_symlink() or target.exists():
                continue
            if item.is_dir():
                shutil.copytree(item, target, copy_function=os.link)
            else:
                target.hardlink_to(item)

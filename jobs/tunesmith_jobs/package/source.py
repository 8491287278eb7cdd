"""What the files of a package are written from: a folder, an adapter that is added as they are written, texts.

An adapter that is more than pairs of matrices is merged by the library first, into a folder. Knows plans; writes no
file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import NotConvertible
from tunesmith.events import Warned
from tunesmith.gguf import plan_gguf
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.merge import merge


class Source(NamedTuple):
    """What files are written from."""

    base: Path
    adapter: Path | None
    """Merged into each matrix as it is written."""
    words: Path
    """The folder with the tokenizer, the template and the generation settings."""


def source_of(work: Work, base: Path, adapter: Path | None, words: Path, fresh: Callable[[], Path]) -> Source:
    """What is written from.

    Args:
        work: The attempt.
        base: The model's folder; the adapter's base.
        adapter: To be merged; None of a whole model.
        words: The folder with the tokenizer, the template and the generation settings.
        fresh: Gives an empty folder, where a merged model is needed on the disk.

    Raises:
        NotConvertible: The base has no place in a file.
    """
    if adapter is None:
        return Source(base, None, words)
    try:
        plan_gguf(base, tokenizer=words, adapter=adapter)
    except NotConvertible as error:
        try:
            plan_gguf(base, tokenizer=words)
        except NotConvertible as reason:
            if reason.problems[0].field == error.problems[0].field:
                raise  # it is the base that has no place in a file
        work.outlet.emit(
            Warned(
                code="merged_first",
                message="The adapter is merged into a folder first, which takes the base's size once more on the disk: "
                f"{error.message}",
            )
        )
        return Source(_merged(work, base, adapter, fresh()), None, words)
    return Source(base, adapter, words)


def _merged(work: Work, base: Path, adapter: Path, folder: Path) -> Path:
    merge(
        adapter,
        base,
        folder,
        work.training,
        work.document.classes or None,
        check=work.check,
        activities=work.outlet.activities,
    )
    return folder

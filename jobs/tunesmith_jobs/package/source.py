"""What the files of a package are written from: a folder, an adapter that is added as they are written, texts.

An adapter that is more than pairs of matrices is merged by the library first, into a folder; so is one whose model
llama.cpp's own converter is to write. Knows plans, and who writes a file; writes none itself.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunesmith.errors import NotConvertible
from tunesmith.events import Warned
from tunesmith.gguf import FileType, Importance, ModelPlan, Written, plan_gguf, write_gguf
from tunesmith_jobs.artifact_store import link_or_copy
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.merge import merge
from tunesmith_jobs.models.reading import lay_out
from tunesmith_jobs.package.converter import Converter, Tell, convert, plan_converted
from tunesmith_jobs.package.texts import lay_model_texts


class Source(NamedTuple):
    """What files are written from, and by whom."""

    base: Path
    adapter: Path | None
    """Merged into each matrix as it is written."""
    words: Path
    """The folder with the tokenizer, the template and the generation settings."""
    converter: Converter | None = None
    """Who writes the file of `base`, where that is not written here."""

    def plan(self, file_type: FileType, matrix: Importance | None) -> ModelPlan:
        """What comes of a file.

        Raises:
            NotConvertible: Nothing does.
        """
        if self.converter is not None:
            return plan_converted(self.base, file_type)
        return plan_gguf(self.base, file_type, tokenizer=self.words, adapter=self.adapter, matrix=matrix)

    def write(
        self,
        target: Path,
        file_type: FileType,
        tell: Tell,
        matrix: Importance | None,
        split_bytes: int | None,
    ) -> Written:
        """Write a file.

        Raises:
            NotConvertible: It cannot be; or llama.cpp's converter wrote none.
            OSError: The disk does not take it.
        """
        if self.converter is not None:
            return convert(self.converter, self.base, target, file_type, tell)
        return write_gguf(
            self.base,
            target,
            file_type,
            tell,
            tokenizer=self.words,
            adapter=self.adapter,
            split_bytes=split_bytes,
            matrix=matrix,
        )


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
    if work.document.converter:
        try:
            plan_gguf(base, tokenizer=words)
        except NotConvertible as reason:
            return _converted(work, base, adapter, fresh(), reason.message)
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
        why = (
            "The adapter is merged into a folder first, which takes the base's size once more on the disk: "
            f"{error.message}"
        )
        work.outlet.emit(Warned(code="merged_first", message=why))
        return Source(_merged(work, base, adapter, fresh()), None, words)
    return Source(base, adapter, words)


def _converted(work: Work, base: Path, adapter: Path | None, folder: Path, why: str) -> Source:
    """The model as llama.cpp's converter is shown it: whole, with its words, and no program of anybody's."""
    converter = Converter(tuple(work.document.converter), why)
    work.outlet.emit(
        Warned(
            code="other_converter",
            message=f"Tunesmith does not write this model, so `{converter.name}` does, and what it writes is held "
            f"against the model: {why}",
        )
    )
    if adapter is None:
        lay_out(base, folder, link_or_copy)
    else:
        _merged(work, base, adapter, folder)
    lay_model_texts(work, folder)
    return Source(folder, None, folder, converter)


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

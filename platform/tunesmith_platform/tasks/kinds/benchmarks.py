"""Whether an evaluation's benchmarks can be taken: the package, and a benchmark of the user's own with its rows.

Which names lm-eval knows, a worker says where it is installed here; else the job, at its beginning.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith.availability import BENCHMARKS_CURE, BENCHMARKS_PROBLEM, LM_EVAL, is_installed
from tunesmith.errors import CheckFailed, InvalidInput
from tunesmith.evaluation.benchmark_file import Files
from tunesmith.evaluation.benchmark_names import refuse
from tunesmith.spec.base import Notice
from tunesmith.spec.benchmarks import BenchmarksSpec
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.paths import allowed_path
from tunesmith_platform.sandbox import sample_checks
from tunesmith_platform.sandbox.error_fields import at


def look_at_benchmarks(
    spec: BenchmarksSpec, roots: list[Path], compute: Compute, notices: list[Notice]
) -> dict[str, Any] | None:
    """The benchmark of the user's own with the real paths of its rows; None where there is none.

    Args:
        spec: Which benchmarks are taken.
        roots: Where a user's files may lie.
        compute: What it is computed on, as far as it is known.
        notices: Takes what is to be said.

    Raises:
        InvalidInput: The package is not there, or the user's benchmark cannot be taken.
    """
    if not spec.takes_benchmarks:
        return None
    field = "benchmarks" if spec.benchmarks is not None else "benchmark_file"
    # The packages of a cluster elsewhere are not known here.
    if compute.machine is not None and is_installed("torch") and not is_installed(LM_EVAL):
        with at(field):
            raise InvalidInput(BENCHMARKS_PROBLEM, hint=BENCHMARKS_CURE)
    if spec.benchmarks and compute.machine is not None and is_installed(LM_EVAL):
        _look_at_names(spec.benchmarks)
    notices.append(Notice(field=field, message="What benchmarks take is not part of the forecast."))
    if spec.benchmark_file is None:
        return None
    with at("benchmark_file"):
        file = allowed_path(spec.benchmark_file, roots)
        if not file.is_file():
            raise InvalidInput(f"There is no file `{spec.benchmark_file}`.", hint="Check the path.")
        found = sample_checks.own_benchmark(file)
        if found.task in (spec.benchmarks or ()):
            raise InvalidInput(
                f"`{found.task}` is the name of a benchmark in `benchmarks` too.",
                hint="Choose another `task`.",
            )
        real = {name: str(_rows(name, roots)) for name in found.files}
        given = found.dataset_kwargs.data_files
        whole: str | dict[str, str] = (
            real[given] if isinstance(given, str) else {split: real[name] for split, name in given.items()}
        )
        return found.model_copy(update={"dataset_kwargs": Files(data_files=whole)}).config()


def _look_at_names(names: Sequence[str]) -> None:
    """Refuse what is no benchmark. That this could not be found out is none of the user's faults: the job asks again.

    Raises:
        InvalidInput: One is not known; says which may be meant.
    """
    try:
        version = metadata.version(LM_EVAL)
        unknown = sample_checks.unknown_benchmarks(names, version)
    except (metadata.PackageNotFoundError, CheckFailed, OSError):
        return
    refuse(unknown, version)


def _rows(name: str, roots: list[Path]) -> Path:
    """A file of rows, links followed: what lm-eval's reader takes for a pattern or an address is no file."""
    file = allowed_path(name, roots)
    if not file.is_file():
        raise InvalidInput(f"There is no file `{name}`.", hint="Check `data_files`; patterns are not taken.")
    return file

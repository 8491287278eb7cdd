"""Which names lm-eval knows, and what is said of one that it does not know: at submit and again by the job.

To find them all takes lm-eval some seconds. Imported by processes that may hold it: the sandbox's, and the job's own.
"""

import difflib
from collections.abc import Mapping, Sequence

from tunesmith.errors import InvalidInput

_AGAIN = 3
"""Names that are offered for one that is not known."""


def known_benchmarks() -> Sequence[str]:
    """All names of lm-eval's.

    Raises:
        ImportError: It is not here.
    """
    from lm_eval.tasks import TaskManager

    return list(TaskManager().all_tasks)


def unknown_benchmarks(names: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """Those names that are no benchmark, each with the ones that it may stand for.

    Args:
        names: Which.
        known: Those that are.
    """
    there = set(known)
    return {name: difflib.get_close_matches(name, known, _AGAIN) for name in names if name not in there}


def refuse(unknown: Mapping[str, Sequence[str]], version: str) -> None:
    """Refuse the first that is not known.

    Args:
        unknown: As `unknown_benchmarks` gives it.
        version: lm-eval's.

    Raises:
        InvalidInput: There is one.
    """
    for name, meant in unknown.items():
        listed = ", ".join(f"`{one}`" for one in meant)
        raise InvalidInput(
            f"lm-eval {version} has no benchmark `{name}`.",
            hint=f"Did you mean {listed}?" if listed else "`lm-eval ls tasks` lists them.",
            field="benchmarks",
        )

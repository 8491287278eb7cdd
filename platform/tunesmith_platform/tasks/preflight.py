"""Whether the packages and the hardware here can do what a training task asks: optimizer, trackers, DeepSpeed.

Asked of the machine the control plane runs on: on one machine it is the one that trains. Where this machine has no
training packages at all, the workers are elsewhere and only the job can tell. Knows nothing of files or models.
"""

from collections.abc import Callable

from tunesmith.availability import is_installed, optimizer_problems, tracker_problems
from tunesmith.errors import InvalidInput, Problem
from tunesmith.scaling import check_elastic
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_platform.embedded.hardware import hardware


def check_fitness(spec: TrainSpec, installed: Callable[[str], bool] = is_installed) -> None:
    """Refuse what cannot run here.

    Raises:
        InvalidInput: With every problem found, each with its place and cure.
    """
    problems: list[Problem] = []
    try:
        check_elastic(spec)
    except InvalidInput as error:
        problems += error.problems
    if installed("torch"):
        on_cpu = spec.device == "cpu" or not hardware().gpus
        problems += optimizer_problems(spec, on_cpu=on_cpu, workers=spec.workers[1], installed=installed)
        problems += tracker_problems(spec, installed)
        if uses_zero(spec) and not installed("deepspeed"):
            problems.append(
                Problem(
                    field="deepspeed_stage" if spec.deepspeed_stage else "deepspeed",
                    message="DeepSpeed is not installed.",
                    hint='Install it with `DS_BUILD_OPS=0 pip install --no-build-isolation "tunesmith[deepspeed]"` '
                    "on every node, or set `deepspeed_stage=0`.",
                )
            )
    if problems:
        first = problems[0]
        placed = [problem.model_copy(update={"field": f"spec.{problem.field}"}) for problem in problems]
        raise InvalidInput(first.message, hint=first.hint, problems=placed)

"""Whether the cluster can do what a training task asks: device, precision, optimizer, trackers, DeepSpeed.

Refused is what is known not to be there; what is not known, the job says where it runs. Packages are looked for where
all of the cluster is this machine and the packages of training lie beside the platform's. Knows nothing of files or
models.
"""

from collections.abc import Callable

from tunesmith.availability import (
    NO_GPU,
    compiler_problems,
    is_installed,
    optimizer_problems,
    package_problems,
    tracker_problems,
)
from tunesmith.errors import InvalidInput, Problem
from tunesmith.scaling import check_elastic
from tunesmith.spec.training import TrainSpec
from tunesmith_platform.backends.compute import Compute

_BEST = "Use `precision=auto`, which takes the best that is there."


def check_fitness(spec: TrainSpec, compute: Compute, installed: Callable[[str], bool] = is_installed) -> None:
    """Refuse what cannot run on the cluster.

    Args:
        spec: The parameters.
        compute: What trains, as far as it is known.
        installed: Says whether a package is on this machine.

    Raises:
        InvalidInput: With every problem found, each with its place and cure.
    """
    problems = _device_problems(spec, compute)
    try:
        check_elastic(spec)
    except InvalidInput as error:
        problems += error.problems
    knows_packages = compute.machine is not None and installed("torch")
    there = installed if knows_packages else _taken_on_trust
    on_cpu = compute.uses_gpu(spec.device) is False
    problems += optimizer_problems(spec, on_cpu=on_cpu, workers=spec.workers[1], installed=there)
    problems += tracker_problems(spec, there)
    uses_gpu = compute.uses_gpu(spec.device)
    problems += package_problems(spec, on_cpu=None if uses_gpu is None else not uses_gpu, installed=there)
    if knows_packages:
        problems += compiler_problems(spec, on_cpu=on_cpu)
    if problems:
        first = problems[0]
        placed = [problem.under("spec") for problem in problems]
        raise InvalidInput(first.message, hint=first.hint, problems=placed)


def _device_problems(spec: TrainSpec, compute: Compute) -> list[Problem]:
    """What the cluster is known not to have of the device and the precision that were asked for."""
    found = []
    place = "bf16" if spec.bf16 else "fp16" if spec.fp16 else "precision"
    if spec.chosen_precision == "bf16" and compute.supports_bf16(spec.device) is False:
        message = "This hardware does not compute in bf16 (that takes AMX or AVX512-BF16, or an Ampere GPU)."
        found.append(Problem(field=place, message=message, hint=_BEST))
    if spec.chosen_precision == "fp16" and compute.uses_gpu(spec.device) is False:
        found.append(Problem(field=place, message="fp16 training needs a GPU.", hint=_BEST))
    if spec.device == "gpu" and compute.has_gpu is False:
        found.append(NO_GPU)
    return found


def _taken_on_trust(_module: str) -> bool:
    return True

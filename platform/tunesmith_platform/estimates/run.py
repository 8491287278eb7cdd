"""What is known of a run before memory and time are estimated, and what is said of it alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import InvalidInput
from tunesmith.estimate import MemoryView
from tunesmith.model_folder import ADAPTER_CONFIG, inabilities
from tunesmith.planning import StepPlan
from tunesmith.spec.base import Notice
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_platform.backends.compute import Compute
from tunesmith_platform.estimates import formula
from tunesmith_platform.estimates.shapes import model_shape
from tunesmith_platform.sandbox import checks
from tunesmith_platform.tasks.inputs import TrainInputs, facts_of
from tunesmith_platform.tasks.preflight import check_fitness

if TYPE_CHECKING:
    from tunesmith_platform.estimates.batches import Rows


@dataclass(frozen=True)
class Run:
    """Everything that is known of a run before memory and time."""

    spec: TrainSpec
    inputs: TrainInputs
    shape: formula.ModelShape
    setting: formula.Setting
    rows: "Rows"
    plan: StepPlan
    compute: Compute
    there_is: int | None
    """Bytes that a worker may fill; None where nobody knows."""


def can_run(spec: TrainSpec, run: Run) -> bool:
    """Whether model and cluster can do what a setting asks, as far as that is known."""
    try:
        check_fitness(spec, run.compute)
    except InvalidInput:
        return False
    return not inabilities(facts_of(Path(run.inputs.model_path)), spec)


def shape_of(spec: TrainSpec, inputs: TrainInputs) -> formula.ModelShape:
    """The numbers of a run's model, by what its files say."""
    model = Path(inputs.model_path)
    facts = facts_of(model, spec.tokenizer_name_or_path)
    return model_shape(facts, checks.model_numbers(model), spec, lora_fields(spec), inputs.classes)


def lora_fields(spec: TrainSpec) -> Mapping[str, Any] | None:
    """The fields of the LoRA that a file or an adapter brings; None where the parameters say it, or it lies elsewhere.

    Raises:
        InvalidInput: It cannot be read.
    """
    if not spec.use_lora:
        return None
    if spec.attach_lora and spec.attach_lora_path:
        folder = local_path(spec.attach_lora_path)
        return None if folder is None else checks.lora_file(folder / ADAPTER_CONFIG, "attach_lora_path")
    return (
        checks.lora_file(Path(spec.peft_config_path), "peft_config_path") if spec.peft_config_path else None
    )


def fits(needed: int, there_is: int | None) -> bool | None:
    """Whether bytes fit into what there is; None where nobody knows that."""
    return None if there_is is None else needed <= there_is


def name_of(compute: Compute, device: str) -> str:
    """What the hardware is called that a run would use."""
    if device == "gpu":
        return compute.gpus[0].name if compute.gpus else "a GPU of the cluster"
    return compute.machine.cpu_name if compute.machine is not None else "the cluster's processors"


def unknown(run: Run) -> list[Notice]:
    """What is said of an estimate that cannot see all: the machines, or a tensor that a LoRA's file names."""
    found = []
    if run.shape.uncounted:
        names = ", ".join(f"`{name[:80]}`" for name in run.shape.uncounted[:6])
        found.append(
            Notice(
                field="peft_config_path",
                message=f"What is trained of {names} is not counted: no tensor of the model's files is called so, and "
                "memory and the adapter's size may be larger.",
            )
        )
    adapter = run.spec.attach_lora_path if run.spec.use_lora and run.spec.attach_lora else None
    if adapter and local_path(adapter) is None:
        found.append(
            Notice(
                field="attach_lora_path",
                message="The adapter lies in a bucket and is not read here: what is trained is counted as the task's "
                "own parameters would have it, and the adapter's may be another rank or other layers.",
            )
        )
    if run.there_is is not None:
        return found
    message = (
        "What the cluster's machines have is not known here: whether memory suffices is not said, and the speed is a "
        "guess until a task with this model has trained there, or it was measured."
    )
    return [*found, Notice(field="device", message=message)]


def memory_view(memory: formula.Memory) -> MemoryView:
    """A run's memory by its parts, as users see it."""
    return MemoryView(
        weights=memory.weights,
        gradients=memory.gradients,
        optimizer=memory.optimizer,
        activations=memory.activations,
        logits=memory.logits,
        framework=memory.framework,
        peak=memory.peak,
    )

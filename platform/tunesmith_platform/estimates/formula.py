"""Memory, disk and floating-point operations of a run, by formula. Pure: numbers in, numbers out.

The terms, and where each comes from:

- Weights, gradients, optimizer states: bytes a parameter times parameters (as in ZeRO, Rajbhandari et al. 2020,
  arXiv:1910.02054, section 3), with the types in which `tunesmith_jobs.models.build` holds them: a frozen base in
  the reduced precision, whatever is trained in fp32.
- Activations: the tensors that autograd keeps of one Llama-like block (Korthikanti et al. 2022, arXiv:2205.05198,
  section 4, counted anew for RMSNorm, rotary embeddings, gated MLP and LoRA by looking at what PyTorch saved). With
  gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) each block keeps its input, and one block at a time all.
- Logits: log-softmax, its gradient and the loss's own, each in fp32, of as many places as are computed at once.
- On a CPU, what the C library's heap holds back between tensors below its mapping threshold: measured.
- Operations: 2 a parameter and token forward, twice that backward (Kaplan et al. 2020, arXiv:2001.08361), less the
  weight gradients where the base is frozen, plus the attention's own.

Held against real runs by `tests/bench/preflight.py`. Knows nothing of files, rows or the machine.
"""

import math
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Literal

MIB = 2**20

_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0}
_QUANTISED = {4: 0.5 + 0.516 / 8, 8: 1.0 + 0.02}
"""Bytes a parameter in nf4 with its double-quantised scales (Dettmers et al. 2023, arXiv:2305.14314), and in int8."""

_STATES = {
    "sgd": 0.0,
    "lomo": 0.0,
    "adalomo": 0.1,
    "adafactor": 0.1,
    "galore_adafactor": 0.1,
    "galore_adafactor_layerwise": 0.1,
    "galore_adamw": 3.0,
    "galore_adamw_layerwise": 3.0,
    "galore_adamw_8bit": 1.0,
    "galore_adamw_8bit_layerwise": 1.0,
    "apollo_adamw": 1.0,
    "apollo_adamw_layerwise": 1.0,
    "adagrad": 4.0,
    "rmsprop": 4.0,
    "lion_8bit": 1.0,
    "paged_lion_8bit": 1.0,
    "adamw_8bit": 2.0,
    "paged_adamw_8bit": 2.0,
    "grokadamw": 12.0,
}
_ADAM = 8.0
"""Bytes of state a trained parameter: two moments in fp32, unless the table says otherwise."""
_NO_WHOLE_GRADIENT = frozenset({"lomo", "adalomo"})

_PIECE = 2**24
"""Logits that the job's own loss makes at once (`tunesmith_jobs.models.loss`)."""
_LOGIT_BYTES = 12
_HEAP_LIMIT = 32 * MIB
"""Tensors from this size on get memory of their own, which goes back at once (glibc's largest mapping threshold)."""
_HEAP_SHARE = 1.25
"""What the heap holds back, as a share of a step's activations without checkpointing. Measured."""

FRAMEWORK_BYTES = {"cpu": 560 * 10**6, "gpu": 650 * 10**6}
"""Python with PyTorch, transformers and peft in main memory; on a GPU the CUDA context. Measured."""


@dataclass(frozen=True)
class Matrices:
    """Linear layers of one name and shape."""

    name: str
    inputs: int
    outputs: int
    count: int
    is_target: bool = False
    """Whether each gets a LoRA."""
    fused: int = 1
    """How many matrices lie in one tensor with it: its LoRA has as many times the rank."""
    is_whole: bool = False
    """Whether it is held as it is where others are quantised."""
    has_bias: bool = False
    """Whether its LoRA has a bias."""
    rank: int = 0
    """Of its LoRA, where that is another than the others'."""


@dataclass(frozen=True)
class ModelShape:
    """What of a model the formula needs."""

    parameters: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    matrices: tuple[Matrices, ...]
    biases: int = 0
    besides: int = 0
    """Numbers that are trained besides a LoRA of the linear layers: whole modules, rows of tokens."""
    uncounted: tuple[str, ...] = ()
    """What is trained besides, by the names in the LoRA's file, and is not counted: the files do not show it."""

    @property
    def linear_parameters(self) -> int:
        """Numbers in all linear layers, the head left out."""
        return sum(one.inputs * one.outputs * one.count for one in self.matrices)

    @property
    def quantised_parameters(self) -> int:
        """Numbers in those linear layers that are held in fewer bits where that is asked for."""
        return sum(one.inputs * one.outputs * one.count for one in self.matrices if not one.is_whole)


@dataclass(frozen=True)
class Setting:
    """How a model is trained, as far as memory and time depend on it."""

    use_lora: bool
    r: int
    lora_dropout: float
    bias: str
    use_dora: bool
    bits: int
    """Of the frozen weights: 4, 8, or 0 where they are not quantised."""
    precision: str
    optim: str
    batch: int
    accumulation: int
    length: int
    """Of the longest row in a batch."""
    gradient_checkpointing: bool
    workers: int = 1
    zero_stage: int = 0
    offload: bool = False
    offload_weights: bool = False
    """Whether the weights lie in main memory too, and come to the GPU block by block."""
    device: Literal["cpu", "gpu"] = "cpu"
    computes_all_logits: bool = False
    """Whether the model's own loss is used, which makes the logits of all places at once."""
    has_classes: bool = False
    """Whether a class is predicted, and no next token."""

    @property
    def places(self) -> int:
        """Tokens and padding of the longest batch."""
        return self.batch * self.length


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker by part."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    framework: int

    @property
    def peak(self) -> int:
        """The sum: at the beginning of a backward pass all parts are there."""
        return (
            self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.framework
        )


def trainable_parameters(shape: ModelShape, setting: Setting) -> int:
    """How many numbers are trained. A LoRA of rank r adds r x (inputs + outputs) to a matrix."""
    if not setting.use_lora:
        return shape.parameters
    added = shape.besides
    for one in shape.matrices:
        if one.is_target:
            magnitude = one.outputs * (setting.use_dora + one.has_bias)
            added += one.count * (
                (one.rank or setting.r) * (one.inputs + one.fused * one.outputs) + magnitude
            )
    return added + (shape.biases if setting.bias != "none" else 0)


def optimizer_bytes(optim: str) -> float:
    """Bytes of state a trained parameter."""
    return _STATES.get(optim, _ADAM)


def memory(shape: ModelShape, setting: Setting) -> Memory:
    """The memory of one worker at its peak, by part."""
    trained = trainable_parameters(shape, setting)
    width = _BYTES[setting.precision]
    stage, workers = setting.zero_stage, max(1, setting.workers)
    if setting.use_lora:
        smaller = shape.quantised_parameters
        held = _QUANTISED.get(setting.bits, width)
        weights = smaller * held + (shape.parameters - smaller) * width + trained * 4.0
    else:
        # Autocast keeps a copy of every matrix in the reduced precision until the backward pass is through.
        copy = width if width < 4 else 0.0
        weights = shape.parameters * 4.0 + (shape.linear_parameters + shape.hidden * shape.vocabulary) * copy
    gradients = 0.0 if setting.optim in _NO_WHOLE_GRADIENT else trained * 4.0
    if workers > 1 and stage == 0:
        gradients *= 2  # DDP reduces in buckets of its own
    states = trained * optimizer_bytes(setting.optim)
    weights /= workers if stage >= 3 else 1
    gradients /= workers if stage >= 2 else 1
    states /= workers if stage >= 1 else 1
    if setting.offload and setting.device == "gpu":
        states = 0.0
        if setting.offload_weights:
            weights *= min(1.0, 2 / max(1, shape.layers))  # the block at work, and the next one on its way
            gradients *= min(1.0, 2 / max(1, shape.layers))
    whole = setting.places * shape.layers * block_bytes(shape, setting)
    mask = setting.batch * setting.length**2 * 4.0
    kept = whole
    if setting.gradient_checkpointing:
        stream = 4.0 if not setting.use_lora else width
        kept = setting.places * (shape.layers * shape.hidden * stream + block_bytes(shape, setting))
    held_back = 0.0
    if setting.device == "cpu":
        # Small gradients and states settle in what the heap holds back.
        held_back = max(0.0, _held_back(shape, setting, whole) - (gradients + states) / 2)
    return Memory(
        weights=round(weights),
        gradients=round(gradients),
        optimizer=round(states),
        activations=round(kept + mask + held_back),
        logits=round(_logits(shape, setting)),
        framework=FRAMEWORK_BYTES[setting.device],
    )


def _logits(shape: ModelShape, setting: Setting) -> float:
    if setting.has_classes:
        return 0.0
    numbers = float(setting.places * shape.vocabulary)
    if not setting.computes_all_logits:
        numbers = min(numbers, float(_PIECE))
    return numbers * (_LOGIT_BYTES + (0 if setting.precision == "fp32" else 2))


def _held_back(shape: ModelShape, setting: Setting, whole: float) -> float:
    """What the heap keeps of blocks it was given back: only of those below the mapping threshold."""
    width = _BYTES[setting.precision]
    if setting.places * shape.intermediate * width < _HEAP_LIMIT:
        return _HEAP_SHARE * whole
    if setting.places * shape.hidden * width < _HEAP_LIMIT:
        return _HEAP_SHARE * whole * 0.4  # the MLP's tensors, which are most of it, are above
    return 0.0


def block_bytes(shape: ModelShape, setting: Setting) -> float:
    """Bytes a token that one block keeps for the backward pass without checkpointing.

    Kept in the computing type: queries, keys and values after the rotation (keys and values repeated for each query
    head), the attention's answer, the MLP's gate, its activation and its other half. In fp32: the input of both norms.
    Besides, each matrix whose weight or LoRA is trained keeps its input.
    """
    h, i, q = shape.hidden, shape.intermediate, shape.heads * shape.head_dim
    inputs = sum(one.inputs * one.count for one in shape.matrices if one.is_target) / max(1, shape.layers)
    own = 3 * h + i  # distinct inputs: of the attention, of its output, of the MLP, of the MLP's output
    if setting.precision == "fp32":
        found = 4.0 * (2 * h + 2 * q + 2 * q + 3 * i)
        if not setting.use_lora:
            return found + 4.0 * (own + 2 * h)
        found += 4.0 * min(inputs, own)
        if setting.lora_dropout:
            found += 4.0 * 1.5 * inputs
        return found
    found = 4.0 * 2 * h + 2.0 * (2 * q + 2 * q + 3 * i)
    if not setting.use_lora:
        # The residual stream is fp32, and autocast makes a copy of a matrix's input for each matrix.
        return found + 4.0 * 2 * h + 2.0 * (6 * h + i)
    found += 2.0 * inputs
    if setting.lora_dropout:
        found += 4.0 * inputs
    return found


def step_operations(
    shape: ModelShape, setting: Setting, places: float, length: float, head_share: float = 1.0
) -> float:
    """Floating-point operations of one optimizer step of one worker.

    Args:
        shape: The model.
        setting: How it is trained.
        places: Tokens and padding of the whole step, all its batches together.
        length: The mean length of a batch's rows, padding included.
        head_share: Share of the places whose logits are computed: those that are trained.
    """
    matrices = shape.linear_parameters
    head = shape.hidden * shape.vocabulary * head_share
    attention = 4.0 * length * shape.heads * shape.head_dim * shape.layers
    forward = 2.0 * (matrices + head) + attention
    backward = 2.0 * (matrices + head) + 2.0 * attention
    trained = 6.0 * trainable_parameters(shape, setting) if setting.use_lora else 2.0 * (matrices + head)
    again = 2.0 * matrices + attention if setting.gradient_checkpointing else 0.0
    return places * (forward + backward + trained + again)


def checkpoint_bytes(shape: ModelShape, setting: Setting) -> int:
    """One checkpoint: trained weights in fp32, optimizer states, and what else belongs to resuming exactly."""
    trained = trainable_parameters(shape, setting)
    return round(trained * (4.0 + optimizer_bytes(setting.optim)) + 60_000)


def final_bytes(shape: ModelShape, setting: Setting, tokenizer_bytes: int, base_bytes: int = 0) -> int:
    """The final model: trained weights with the tokenizer; with a merged one, the base's weights as they are stored.

    Args:
        shape: The model.
        setting: How it is trained.
        tokenizer_bytes: Its tokenizer's files.
        base_bytes: The base's weight files, where the adapter is merged into them; the adapter lies beside.
    """
    return trainable_parameters(shape, setting) * 4 + base_bytes + tokenizer_bytes + 20_000


def packed_rows(lengths: list[int], size: int) -> int:
    """How many packs of at most `size` tokens best fit makes of rows, the longest first."""
    rooms: list[int] = []
    packs = 0
    for length in sorted(lengths, reverse=True):
        at = bisect_left(rooms, length)
        if at == len(rooms):
            packs += 1
            left = size - length
        else:
            left = rooms.pop(at) - length
        if left:
            insort(rooms, left)
    return packs


def mean_ceiling(total: float, parts: int) -> int:
    """Up to the next whole, at least one."""
    return max(1, math.ceil(total / max(1, parts)))

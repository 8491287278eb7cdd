"""Optimizers made to fit our Trainer: refused where they cannot work, and plain tensors in a checkpoint.

Several keep state that a checkpoint would lose, or hold only as a pickle that we refuse to read: projectors (GaLore,
APOLLO), state inside a parameter group (GrokAdamW), attributes (AdaLomo), one optimizer a weight (the layerwise ones).
Knows the optimizers' own structures; knows nothing of the training loop.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tunesmith.availability import optimizer_problems
from tunesmith.errors import InvalidInput
from tunesmith.spec.optimizers import OPTIMIZERS, chosen_optimizer
from tunesmith.spec.training import TrainSpec
from tunesmith.zero import uses_zero
from tunesmith_jobs.models.precision import Choice

_State = dict[str, Any]
_Load = Callable[[_State], None]
_Out = Callable[[Any, _State], _State]
_Back = Callable[[Any, _State, _Load], None]
_ADALOMO_STATE = ("exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col")
_LAYERWISE = "_layerwise"


def refuse(spec: TrainSpec, choice: Choice) -> None:
    """Refuse an optimizer that cannot work as asked.

    Raises:
        InvalidInput: With every reason and its cure.
    """
    problems = optimizer_problems(spec, on_cpu=choice.device == "cpu", workers=spec.workers[1])
    if problems:
        raise InvalidInput(problems[0].message, hint=problems[0].hint, problems=problems)


def library_name(spec: TrainSpec, choice: Choice) -> str:
    """The name that the Trainer gets: a layerwise optimizer is made from the plain one by `fit`.

    On a CPU AdamW is computed in one operation over all weights: 5 to 12 times as fast, equal to the last digits.
    """
    name = chosen_optimizer(spec).removesuffix(_LAYERWISE)
    if name == "adamw_torch" and choice.device == "cpu" and not uses_zero(spec):
        return "adamw_torch_fused"
    return name


def moves_in_backward(spec: TrainSpec) -> bool:
    """Whether the weights have moved before the step begins, so that no gradient is left to clip or measure."""
    return OPTIMIZERS[chosen_optimizer(spec)].moves_in_backward


def fit(optimizer: torch.optim.Optimizer, spec: TrainSpec) -> torch.optim.Optimizer:
    """Make what the Trainer built survive a checkpoint, and obey the parameters that the Trainer does not hand on."""
    name = chosen_optimizer(spec)
    if name.endswith(_LAYERWISE):
        optimizer = Layerwise(optimizer)
    if OPTIMIZERS[name].is_low_rank:
        for group in optimizer.param_groups:
            if "rank" in group:  # the weight matrices; embeddings and norms do not decay
                group["weight_decay"] = spec.weight_decay
        _translate(optimizer, _projectors_out, _projectors_back)
    elif name == "grokadamw":
        _translate(optimizer, _grok_out, _grok_back)
    elif name in ("lomo", "adalomo"):
        lomo: Any = optimizer
        lomo.weight_decay, lomo.do_weight_decay = spec.weight_decay, spec.weight_decay > 0
        if name == "adalomo":
            _translate(optimizer, _adalomo_out, _adalomo_back)
    elif name == "schedule_free_adamw":
        for group in optimizer.param_groups:
            group["warmup_steps"] = 0  # whether it warms up is the schedule's to say, as with any other
    return optimizer


@contextmanager
def evaluating(optimizer: Any) -> Iterator[None]:
    """Let the weights be those to evaluate and to save: a schedule-free optimizer trains others."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if not (hasattr(inner, "eval") and hasattr(inner, "train")):
        yield
        return
    inner.eval()
    try:
        yield
    finally:
        inner.train()


@contextmanager
def as_evaluated(optimizer: Any) -> Iterator[None]:
    """As `evaluating`, with the very same weights after the block: to and fro between two kinds of them rounds.

    Of an optimizer that has one kind nothing is copied.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    moves = hasattr(inner, "eval") and hasattr(inner, "train")
    weights = [weight for group in inner.param_groups for weight in group["params"]] if moves else []
    before = [weight.detach().clone() for weight in weights]
    try:
        with evaluating(optimizer):
            yield
    finally:
        with torch.no_grad():
            for weight, kept in zip(weights, before, strict=True):
                weight.copy_(kept)


class Layerwise(torch.optim.Optimizer):
    """Steps each weight by itself as soon as its gradient is there, and drops the gradient.

    The state and the learning rate are this object's, so that checkpoints and schedulers work as with any other.
    """

    def __init__(self, whole: torch.optim.Optimizer) -> None:
        self._single: dict[torch.Tensor, torch.optim.Optimizer] = {}
        super().__init__(whole.param_groups, whole.defaults)
        self.state = whole.state
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad:
                    options = {name: value for name, value in group.items() if name != "params"}
                    self._single[parameter] = type(whole)([{"params": [parameter], **options}])
                    self._single[parameter].state = self.state
                    parameter.register_post_accumulate_grad_hook(self._moved(group))

    def _moved(self, group: dict[str, Any]) -> Any:
        place = next(i for i, other in enumerate(self.param_groups) if other is group)

        def hook(parameter: torch.Tensor) -> None:
            single = self._single[parameter]
            # Loading replaces the groups: looked up anew.
            single.param_groups[0]["lr"] = self.param_groups[place]["lr"]
            single.step()
            parameter.grad = None

        return hook

    def step(self, closure: Any = None) -> None:
        """Nothing is left to do."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state as it is: torch would turn 8-bit state into the weights' format."""
        super().load_state_dict({**state_dict, "state": {}})
        weights = _weights(self)
        for place, one in state_dict["state"].items():
            self.state[weights[place]] = {
                name: value.to(weights[place].device) if torch.is_tensor(value) else value
                for name, value in one.items()
            }
        for single in self._single.values():
            single.state = self.state


def _weights(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The weights by the places that a saved state names them with."""
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _translate(optimizer: Any, out: _Out, back: _Back) -> None:
    """Change what a checkpoint holds. Not by torch's hooks: bitsandbytes does not call them."""
    save, load = optimizer.state_dict, optimizer.load_state_dict
    optimizer.state_dict = lambda: out(optimizer, save())
    optimizer.load_state_dict = lambda state: back(optimizer, state, load)


def _projector_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    try:
        from galore_torch.galore_projector import GaLoreProjector

        found["galore"] = GaLoreProjector
    except ImportError:
        pass
    try:
        from apollo_torch.random_projector import GradientProjector
        from apollo_torch.svd_projector import GaLoreProjector as SvdProjector

        found |= {"apollo_random": GradientProjector, "apollo_svd": SvdProjector}
    except ImportError:
        pass
    return found


def _projectors_out(optimizer: Any, state: _State) -> _State:
    """Projectors as plain dictionaries, beside the state: torch would take their words for sequences."""
    kinds = {kind: name for name, kind in _projector_classes().items()}
    without: dict[int, Any] = {}
    projectors: dict[int, Any] = {}
    for place, one in state["state"].items():
        projector = one.get("projector")
        without[place] = {name: value for name, value in one.items() if name != "projector"}
        if projector is not None:
            projectors[place] = {"kind": kinds[type(projector)], **vars(projector)}
    return {**state, "state": without, "projectors": projectors}


def _projectors_back(optimizer: Any, state: _State, load: _Load) -> None:
    load({name: value for name, value in state.items() if name != "projectors"})
    classes, weights = _projector_classes(), _weights(optimizer)
    for place, plain in state["projectors"].items():
        made = classes[plain["kind"]].__new__(classes[plain["kind"]])
        for name, value in plain.items():
            if name != "kind":
                setattr(made, name, value.to(weights[place].device) if torch.is_tensor(value) else value)
        optimizer.state[weights[place]]["projector"] = made


def _grok_out(optimizer: Any, state: _State) -> _State:
    """Its state lies in the groups, by weight; in a checkpoint by the weight's place."""
    groups = [
        {**packed, "state": [group.get("state", {}).get(p, {}) for p in group["params"]]}
        for packed, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**state, "param_groups": groups}


def _grok_back(optimizer: Any, state: _State, load: _Load) -> None:
    load(state)
    for group in optimizer.param_groups:
        # On the CPU, where it keeps its state between two steps.
        group["state"] = {
            p: {name: value.cpu() if torch.is_tensor(value) else value for name, value in one.items()}
            for p, one in zip(group["params"], group["state"], strict=True)
            if one
        }


def _adalomo_out(optimizer: Any, state: _State) -> _State:
    kept = {name: getattr(optimizer, name) for name in _ADALOMO_STATE}
    return {**state, "adalomo": {"step_num": optimizer.step_num, **kept}}


def _adalomo_back(optimizer: Any, state: _State, load: _Load) -> None:
    load({name: value for name, value in state.items() if name != "adalomo"})
    kept = state["adalomo"]
    optimizer.step_num = kept["step_num"]
    for name in _ADALOMO_STATE:
        for key, tensor in getattr(optimizer, name).items():
            tensor.copy_(kept[name][key])

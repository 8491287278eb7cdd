"""The model of one candidate after another, over one base that stays loaded.

A candidate is made on a copy of the base's modules that shares its weights, so that whatever an adapter's library does
to modules, settings and names is gone with the copy. In fp32 the adapter is then added to the weights it touches:
generation costs no more than the base's, and DoRA is not computed anew at each token. What an adapter wrote into
weights that are the base's own is found by a sum over all of them; the base is then loaded afresh.

Knows how models are loaded; knows nothing of what they are asked.
"""

import collections
import dataclasses
import gc
from pathlib import Path
from typing import Any

import torch

from tunesmith.errors import InvalidInput
from tunesmith.model_step import ModelDocument
from tunesmith.spec.training import TrainSpec
from tunesmith.storage import local_path
from tunesmith_jobs.evaluate.engine.asleep import Asleep, give_back
from tunesmith_jobs.evaluate.engine.mapped import Mapped
from tunesmith_jobs.models import build
from tunesmith_jobs.models.adapters import check_merging
from tunesmith_jobs.models.fetch import fetch_model
from tunesmith_jobs.models.loading import UsedModel, load
from tunesmith_jobs.models.lora_linear import use_fused_lora
from tunesmith_jobs.models.merge import TiedEnds, merged
from tunesmith_jobs.models.precision import Choice, choose
from tunesmith_jobs.models.shared_weights import copy_over_weights

_SUMMED = 2**20
"""Numbers that are summed at once."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclasses.dataclass(frozen=True)
class _Key:
    """What decides a base's weights and how it computes."""

    place: str
    """The folder, or the URI of what lies elsewhere: copies of two runs' checkpoints may have one name here."""
    choice: Choice
    attention: str


class Candidates:
    """Loads candidates, one at a time.

    Args:
        scratch: Takes copies of what lies in a storage elsewhere.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.key: _Key | None = None
        """Tells the base that is loaded; None of one that is quantised."""
        self._base: Any = None
        self._sum = 0
        self._asleep: Asleep | None = None
        """Weights of the base that the candidate has others of."""
        self.loads = 0
        """How many times a base or a whole model was read from its files."""

    def use(self, document: ModelDocument) -> UsedModel:
        """The model of a document. Nobody holds the one before any more.

        Raises:
            InvalidModel: It cannot be loaded.
            InvalidInput: The adapter does not fit its base, or a package is missing.
        """
        spec = TrainSpec.stored(document.training)
        # Its modules hold each other, and what it answered with lies in pieces: the base would wake beside both.
        gc.collect()
        give_back()
        if spec.load_in_4bit or spec.load_in_8bit:
            self._forget()
            self.loads += 1
            return load(document, spec, self._scratch, is_measured=False)
        self._take_base(document, spec)
        assert self.key is not None
        choice = self.key.choice
        return UsedModel(self._tuned(spec) if spec.use_lora else self._base, choice)

    def _take_base(self, document: ModelDocument, spec: TrainSpec) -> None:
        """Have the base in memory as it is in its files."""
        uri = str(spec.model_name_or_path) if spec.use_lora else document.model_uri
        local = local_path(uri)
        key = _Key(uri if local is None else str(local.resolve()), choose(spec), spec.attn_implementation)
        is_awake = key == self.key and self._asleep is not None and self._asleep.wake()
        if is_awake and self._sum == _sum_of(self._base):
            return
        self._forget()
        self.loads += 1
        folder = Path(uri) if spec.use_lora else fetch_model(uri, self._scratch / "model")
        base = build.load_frozen(folder, spec, key.choice, is_trained=False)
        base = base.to(key.choice.device).requires_grad_(False).eval()
        if key.choice.precision == "fp32" and key.choice.device == "cpu":
            _take_out(base)
            _lay_columns(base)
        self.key, self._base, self._sum = key, base, _sum_of(base)
        self._asleep = Asleep(base, folder)

    def _forget(self) -> None:
        self.key = self._base = self._asleep = None

    def _tuned(self, spec: TrainSpec) -> Any:
        """The base with an adapter; in fp32 added to the weights."""
        assert self.key is not None
        model, origins = copy_over_weights(self._base)
        ends = TiedEnds(model)
        tuned = build.with_adapter(model, Path(spec.model_name_or_path), spec).requires_grad_(False).eval()
        if self.key.choice.precision != "fp32" or not _can_merge(tuned):
            # In fewer bits a merged weight would round away what was learnt.
            use_fused_lora(tuned)
            return tuned

        asleep = self._asleep
        assert asleep is not None

        def done(layer: Any) -> None:
            for parameter in layer.get_base_layer().parameters(recurse=False):
                own = origins.get(id(parameter))
                if own is not None and own.data_ptr() != parameter.data_ptr():
                    asleep.put(own)

        found = merged(tuned, ends, done=done).requires_grad_(False).eval()
        give_back()
        return found


def _take_out(model: Any) -> None:
    """Hold all weights in memory of their own: those in a file's mapping would keep what is written over them there."""
    mapped = Mapped()
    for weight in model.parameters():
        data = weight.data
        if mapped.holds(data):
            weight.data = data.clone()
            mapped.let_go(data)


def _lay_columns(model: Any) -> None:
    """Hold the matrices of linear layers column after column, as a processor's product reads them.

    Else it turns the whole matrix each time, which costs more than a product of few rows does. What else reads a
    matrix, as an embedding does, wants it as it is.
    """
    readers = collections.Counter(
        id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False)
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and readers[id(module.weight)] == 1:
            data = module.weight.data.contiguous()
            turned = data.t().contiguous()
            # In its own memory: what is freed here was taken by threads that loaded it, and is not used again.
            module.weight.data = data.view(turned.shape).copy_(turned).t()


def _can_merge(tuned: Any) -> bool:
    try:
        check_merging(tuned)
    except InvalidInput:
        return False
    return True


def _sum_of(model: Any) -> int:
    """A sum over the bits of all weights; almost any change changes it."""
    total = 0
    for parameter in model.parameters():
        data = parameter.data if parameter.dim() != 2 or parameter.is_contiguous() else parameter.data.t()
        bits = data.contiguous().view(_INTEGERS[parameter.itemsize])
        for part in bits.flatten().split(_SUMMED):  # a sum of all at once would widen all at once
            total = (total + int(part.sum(dtype=torch.int64))) % 2**63
        total = total * 31 % 2**63
    return total

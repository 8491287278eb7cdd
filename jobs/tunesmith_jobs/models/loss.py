"""The loss of a causal model at the trained positions alone, in pieces, so that the whole logits are never built.

Logits of a 135M model's 49 152 words are larger than everything else a step holds, and where half of the tokens are
questions half of them are thrown away. So the hidden states of trained positions are gathered first; their logits are
made piece by piece, and turned into gradients at once (as in Liger and Apple's cut cross-entropy; the idea, not the
code).

Used only where it was seen to give the model's own logits. Where a mixture of experts trains its router's balance too,
that is computed here for each row by itself: of a whole batch, as transformers does it, a step's gradient would depend
on how the step is cut into batches. Knows torch and what transformers calls things; knows nothing of rows.
"""

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, linear

from tunesmith.rows.tokens.encoding import IGNORE_INDEX

_PIECE_ELEMENTS = 2**24
"""Logits of one piece, in numbers: 64 MB in fp32."""


def use_supervised_loss(model: Any) -> str | None:
    """Let a model compute its loss at the trained positions alone.

    Args:
        model: A causal model, or a peft model around one.

    Returns:
        None when it does from now on; else why it computes its loss as before.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    why = _hindrance(causal)
    balance = _balance_of(causal)
    if why is None:
        plain = causal.forward
        decoder, head = causal.get_decoder(), causal.get_output_embeddings()

        def forward(
            _: Any,
            *args: Any,
            labels: torch.Tensor | None = None,
            num_items_in_batch: Any = None,
            **inputs: Any,
        ) -> Any:
            if labels is None or args:
                more = {} if labels is None else {"labels": labels, "num_items_in_batch": num_items_in_batch}
                return plain(*args, **inputs, **more)
            from transformers.modeling_outputs import CausalLMOutputWithPast

            if balance is not None:
                inputs["output_router_logits"] = True
            found = decoder(**inputs)
            total, count = supervised_loss(found.last_hidden_state, labels, head.weight, head.bias)
            items = num_items_in_batch if num_items_in_batch is not None else max(count, 1)
            loss = total / items
            if balance is not None and causal.training:
                extra = balance.loss(found.router_logits, labels, items)
                loss = loss + (
                    extra - extra.detach()
                )  # it moves the weights; what is shown is of the tokens alone
            return CausalLMOutputWithPast(loss=loss)

        causal.forward = types.MethodType(forward, causal)
        return None
    return without_balance(model, why)


def supervised_loss(
    hidden: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, int]:
    """The sum of the cross-entropy over all labels, and how many there are.

    Args:
        hidden: The decoder's last hidden states, of shape (rows, length, hidden).
        labels: Of shape (rows, length), not shifted; `IGNORE_INDEX` where nothing is trained.
        weight: The output head's weight, of shape (words, hidden).
        bias: Its bias.
    """
    targets = labels[:, 1:].to(hidden.device)
    picked = targets != IGNORE_INDEX
    chosen = hidden[:, :-1][picked]
    is_cast = torch.is_autocast_enabled(hidden.device.type)
    kind = torch.get_autocast_dtype(hidden.device.type) if is_cast else weight.dtype
    chosen, weight = chosen.to(kind), weight.to(kind)
    bias = bias.to(kind) if bias is not None else None
    total: torch.Tensor = _SumOfLosses.apply(chosen, targets[picked], weight, bias)  # type: ignore[no-untyped-call]
    return total, len(chosen)


class _SumOfLosses(torch.autograd.Function):
    """Sum of cross-entropies of a linear layer's logits. The gradients are made in the forward pass, piece by piece."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Hidden states of shape (positions, hidden), targets of shape (positions,)."""
        needs = [ctx.needs_input_grad[i] for i in (0, 2, 3)]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.zeros_like(hidden) if needs[0] else None
        # Pieces are added up: in a reduced precision the small ones would be lost.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs[1] else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and needs[2] else None
        size = max(1, _PIECE_ELEMENTS // weight.shape[0])
        with torch.autocast(hidden.device.type, enabled=False):
            for begin in range(0, len(hidden), size):
                piece, goal = hidden[begin : begin + size], targets[begin : begin + size]
                logits = linear(piece, weight, bias).float()
                if not any(needs):
                    total += cross_entropy(logits, goal, reduction="sum")
                    continue
                scale = torch.logsumexp(logits, dim=-1, keepdim=True)
                total += (scale - logits.gather(1, goal[:, None])).sum()
                grad = torch.exp(logits.sub_(scale), out=logits)
                grad.scatter_add_(1, goal[:, None], torch.full_like(scale, -1.0))
                if grad_bias is not None:
                    grad_bias += grad.sum(dim=0)
                grad = grad.to(hidden.dtype)
                if grad_hidden is not None:
                    torch.mm(grad, weight, out=grad_hidden[begin : begin + size])
                if grad_weight is not None:
                    grad_weight += grad.T @ piece
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = weight.dtype, bias.dtype if bias is not None else None
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """The gradients, scaled by what comes from behind."""
        of_hidden, of_weight, of_bias = ctx.saved_tensors
        of_weight_type, of_bias_type = ctx.dtypes
        return (
            of_hidden * grad.to(of_hidden.dtype) if of_hidden is not None else None,
            None,
            (of_weight * grad).to(of_weight_type) if of_weight is not None else None,
            (of_bias * grad).to(of_bias_type) if of_bias is not None else None,
        )


class _Balance(NamedTuple):
    """How evenly a router spreads tokens over its experts (Fedus et al. 2021, arXiv:2101.03961, equations 4 to 6)."""

    measure: Callable[..., torch.Tensor]
    """transformers' own, of the model's module."""
    experts: int
    chosen: int
    coefficient: float

    def loss(self, router_logits: Sequence[torch.Tensor], labels: torch.Tensor, items: Any) -> torch.Tensor:
        """The rows' losses by their share of the step's labels: a sum over rows, however they are put into batches.

        Args:
            router_logits: Of each layer, of shape (rows * length, experts).
            labels: Of shape (rows, length); a row counts up to its last label, so that padding does not.
            items: Labels of the whole step.
        """
        places = torch.arange(1, labels.shape[1] + 1, device=labels.device)
        trained = labels != IGNORE_INDEX
        ends = (trained * places).amax(dim=1).tolist()
        counts = trained[:, 1:].sum(dim=1).tolist()
        layers = [layer.view(*labels.shape, -1) for layer in router_logits]
        total = torch.zeros((), device=labels.device)
        for row, (end, count) in enumerate(zip(ends, counts, strict=True)):
            if count:
                own = tuple(layer[row, :end] for layer in layers)
                total = total + count * self.measure(own, self.experts, self.chosen)
        return self.coefficient * total / items


def _balance_of(causal: Any) -> _Balance | None:
    """What a model trains besides its tokens' loss; None where its configuration asks for nothing."""
    measure = getattr(sys.modules[type(causal).__module__], "load_balancing_loss_func", None)
    coefficient = getattr(causal, "router_aux_loss_coef", getattr(causal, "aux_loss_coef", None))
    if not getattr(causal.config, "output_router_logits", False) or measure is None or not coefficient:
        return None
    numbers = [getattr(causal, name, None) for name in ("num_experts", "num_experts_per_tok")]
    return _Balance(measure, *numbers, coefficient) if all(numbers) else None


def without_balance(model: Any, why: str) -> str:
    """Let a model's own loss be that of its tokens alone; its configuration stays as it is, since it is saved.

    Args:
        model: A causal model, or a peft model around one, whose loss is its own.
        why: Why it is.

    Returns:
        The same, and what is not trained.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(causal.config, "output_router_logits", False):
        return why
    plain = causal.forward

    def forward(_: Any, *args: Any, **inputs: Any) -> Any:
        return plain(*args, **inputs, output_router_logits=False)

    causal.forward = types.MethodType(forward, causal)
    return f"{why}; the balance of its experts is not trained"


def _hindrance(causal: Any) -> str | None:
    """Why a model's loss cannot be computed from its decoder and its head; None when it can."""
    from transformers.integrations import is_deepspeed_zero3_enabled
    from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss

    if is_deepspeed_zero3_enabled():
        return "the head's weight is spread over the workers"
    if LOSS_MAPPING.get(getattr(causal, "loss_type", None)) is not ForCausalLMLoss:
        return "the model has a loss of its own"
    head = causal.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return "the head is no plain linear layer"
    decoder = getattr(causal, "get_decoder", lambda: None)()
    if decoder is None or decoder is causal:
        return "the model does not name its decoder"
    was_training = causal.training
    causal.eval()
    try:
        ids = torch.arange(4, device=head.weight.device)[None] % head.weight.shape[0]
        with torch.no_grad():
            logits = causal(input_ids=ids, use_cache=False).logits
            try:
                # Some (Mamba) hold their stream in fp32 whatever the weights are.
                hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
                own = head(hidden.to(head.weight.dtype))
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, TypeError, ValueError, AttributeError):  # each has its own between the two
                return "the head does not read what the decoder gives"
    finally:
        causal.train(was_training)
    # Some scale or cap their logits behind the head.
    if logits.shape != own.shape or not torch.allclose(logits.float(), own.float(), rtol=1e-5, atol=1e-6):
        return "the model changes its logits behind the head"
    return None

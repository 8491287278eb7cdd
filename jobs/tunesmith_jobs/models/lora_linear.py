"""A linear layer with a LoRA as one operation, where peft takes six.

peft multiplies and adds tensors as large as the layer's output, and converts its input to fp32 and back; on a processor
that takes as long as a quarter of the matrix products. Here both products of the LoRA are added in place. In fp32 the
result differs in the last digits; under autocast it is rounded once less.

Knows peft's plain LoRA layer; any other kind (DoRA, quantised, a bias of its own) stays as it is.
"""

import types
from typing import Any

import torch
from torch.nn.functional import linear


def use_fused_lora(model: Any) -> int:
    """Let a model's plain LoRA layers compute in one operation on a CPU; returns how many do from now on."""
    from peft.tuners.lora.layer import Linear

    found = 0
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.forward = types.MethodType(_fused(layer.forward), layer)
            found += 1
    return found


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    names = layer.active_adapters
    return (
        type(base) is torch.nn.Linear
        and not any(parameter.requires_grad for parameter in base.parameters())
        and len(names) == 1
        and names[0] in layer.lora_A
        and not layer.fan_in_fan_out
        and not layer.lora_variant
        and type(layer.lora_A[names[0]]) is torch.nn.Linear
        and layer.lora_B[names[0]].bias is None
    )


def _fused(plain: Any) -> Any:
    def forward(layer: Any, x: torch.Tensor, *args: Any, **more: Any) -> Any:
        is_ours = (
            x.device.type == "cpu"
            and not args
            and not more
            and not layer.disable_adapters
            and not layer.merged
        )
        if not is_ours:
            return plain(x, *args, **more)
        name = layer.active_adapters[0]
        base = layer.get_base_layer()
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        dropped = layer.lora_dropout[name](x)
        if torch.is_autocast_enabled("cpu"):
            kind = torch.get_autocast_dtype("cpu")
        else:
            kind = x.dtype
            if not (base.weight.dtype == down.dtype == up.dtype == kind):
                return plain(x)
        flat = x.reshape(-1, x.shape[-1])
        result: torch.Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            flat, None if dropped is x else dropped.reshape(flat.shape), base.weight, base.bias, down, up,
            float(layer.scaling[name]), kind,
        )  # fmt: skip
        return result.view(*x.shape[:-1], -1)

    return forward


class _LoraLinear(torch.autograd.Function):
    """x W' + b + scaling * dropped A' B', for x of shape (places, in)."""

    @staticmethod
    def forward(  # noqa: PLR0917  (autograd hands on positions)
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
        kind: torch.dtype,
    ) -> torch.Tensor:
        """`dropped` is x after dropout; None where there is none."""
        with torch.autocast("cpu", enabled=False):
            ctx.dtypes = x.dtype, dropped.dtype if dropped is not None else None, down.dtype, up.dtype
            x, weight, down, up = x.to(kind), weight.to(kind), down.to(kind), up.to(kind)
            source = dropped.to(kind) if dropped is not None else x
            result = linear(x, weight, bias.to(kind) if bias is not None else None)
            inner = source @ down.T
            result.addmm_(inner, up.T, alpha=scaling)
        ctx.save_for_backward(source, inner, weight, down, up)
        ctx.scaling = scaling
        ctx.is_dropped = dropped is not None
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """The gradients of x and of the two small matrices."""
        source, inner, weight, down, up = ctx.saved_tensors
        of_x = of_dropped = of_down = of_up = None
        with torch.autocast("cpu", enabled=False):
            of_inner = (grad @ up).mul_(ctx.scaling)
            if ctx.needs_input_grad[0]:
                of_x = grad @ weight
                if not ctx.is_dropped:
                    of_x.addmm_(of_inner, down)
            if ctx.is_dropped and ctx.needs_input_grad[1]:
                of_dropped = (of_inner @ down).to(ctx.dtypes[1])
            if ctx.needs_input_grad[4]:
                of_down = (of_inner.T @ source).to(ctx.dtypes[2])
            if ctx.needs_input_grad[5]:
                of_up = (grad.T @ inner).mul_(ctx.scaling).to(ctx.dtypes[3])
        of_x = of_x.to(ctx.dtypes[0]) if of_x is not None else None
        return of_x, of_dropped, None, None, of_down, of_up, None, None

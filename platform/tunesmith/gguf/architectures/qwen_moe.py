"""Qwen 2 and 3 with experts."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Part, Tensor, experts
from tunesmith.gguf.architectures.qwen2 import Qwen2
from tunesmith.gguf.architectures.qwen3 import Qwen3
from tunesmith.gguf.file import Value


class _Experts(Architecture):
    """A feed-forward layer of experts in every block."""

    sums_to_one: bool
    """Whether what the chosen experts count is made to sum to one: llama.cpp does, or does not, by architecture."""

    def refuse(self, given: Given) -> None:
        """Blocks without experts, and weights of experts that llama.cpp computes otherwise."""
        super().refuse(given)
        if given.get("mlp_only_layers") or given.size("decoder_sparse_step", 1) != 1:
            name = "mlp_only_layers" if given.get("mlp_only_layers") else "decoder_sparse_step"
            raise given.refused(name, "leaves the experts out of some layers, which llama.cpp does not")
        if given.flag("norm_topk_prob") != self.sums_to_one:
            lets = "lets" if self.sums_to_one else "does not let"
            why = f"is otherwise than in llama.cpp, which {lets} the experts' weights sum to one"
            raise given.refused("norm_topk_prob", why)
        name = "num_local_experts" if given.says("num_local_experts") else "num_experts"
        self.experts = given.size(name)
        self._inner = given.size("moe_intermediate_size")

    def feed_forward(self) -> Iterator[Tensor]:
        """What chooses the experts, and their matrices, each kind as one tensor."""
        yield Tensor("mlp.gate.weight", (self.experts, self.hidden), is_exact=True)
        wide, back = (self.experts, self._inner, self.hidden), (self.experts, self.hidden, self._inner)
        fused = "mlp.experts.gate_up_proj"
        for name, size, lies in (
            ("gate_proj", wide, (fused, 0, 2)),
            ("up_proj", wide, (fused, 1, 2)),
            ("down_proj", back, ("mlp.experts.down_proj", 0, 1)),
        ):
            names = [f"mlp.experts.{number}.{name}.weight" for number in range(self.experts)]
            yield Tensor(f"mlp.experts.{name}.weight", size, lies=experts(names, size, *lies))

    def says(self, given: Given) -> dict[str, Value]:
        """How many experts there are, how many a token asks, and how wide they are."""
        return {
            "expert_count": self.experts,
            "expert_used_count": given.size("num_experts_per_tok"),
            "expert_feed_forward_length": self._inner,
        }


class Qwen3Moe(_Experts, Qwen3):
    """Experts alone."""

    model_type = "qwen3_moe"
    word = "qwen3moe"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    }
    sums_to_one = True


class Qwen2Moe(_Experts, Qwen2):
    """Experts, and one that every token asks."""

    model_type = "qwen2_moe"
    word = "qwen2moe"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 16,
        "sliding_window": 4096,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "qkv_bias": True,
    }
    needs_head = True
    sums_to_one = False

    def refuse(self, given: Given) -> None:
        """Besides, nothing; remembers how wide the shared expert is."""
        super().refuse(given)
        self._shared = given.size("shared_expert_intermediate_size")
        self._is_biased = given.flag("qkv_bias")

    def has_bias(self, layer: str) -> bool:
        """Of queries, keys and values, unless they are turned off."""
        return self._is_biased and super().has_bias(layer)

    def feed_forward(self) -> Iterator[Tensor]:
        """With the shared expert, and what says how much it counts."""
        yield from super().feed_forward()
        yield from self.linear("mlp.shared_expert.gate_proj", self._shared, self.hidden)
        yield from self.linear("mlp.shared_expert.up_proj", self._shared, self.hidden)
        yield from self.linear("mlp.shared_expert.down_proj", self.hidden, self._shared)
        name = "mlp.shared_expert_gate.weight"
        yield Tensor(name, (self.hidden,), lies=((Part(name, (1, self.hidden)),),))

    def says(self, given: Given) -> dict[str, Value]:
        """How wide the shared expert is, besides."""
        return super().says(given) | {"expert_shared_feed_forward_length": self._shared}

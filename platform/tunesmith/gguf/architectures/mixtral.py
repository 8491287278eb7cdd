"""Mixtral."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.base import Architecture
from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Part, Tensor, experts
from tunesmith.gguf.architectures.positions import PLAIN
from tunesmith.gguf.file import Value

_PUBLISHED = "block_sparse_moe"


class Mixtral(Architecture):
    """Llama whose feed-forward layer is some experts, of which each token asks a few."""

    model_type = "mixtral"
    word = "llama"
    defaults: ClassVar[Mapping[str, Any]] = {
        "num_key_value_heads": 8,
        "rope_theta": 1_000_000.0,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
    turns_pairs = True
    ways_of_scaling = (*PLAIN, "llama3", "longrope")

    def refuse(self, given: Given) -> None:
        """Nothing; remembers how many experts there are."""
        self.experts = given.size("num_local_experts")

    def feed_forward(self) -> Iterator[Tensor]:
        """What chooses the experts, and their matrices, each kind as one tensor."""
        shape = (self.experts, self.hidden)
        ways = tuple((Part(f"{place}.gate.weight", shape),) for place in (_PUBLISHED, "mlp"))
        yield Tensor("mlp.gate.weight", shape, is_exact=True, lies=ways)
        wide, back = (self.experts, self.inner, self.hidden), (self.experts, self.hidden, self.inner)
        fused = "mlp.experts.gate_up_proj"
        for name, matrix, size, lies in (
            ("gate_proj", "w1", wide, (fused, 0, 2)),
            ("up_proj", "w3", wide, (fused, 1, 2)),
            ("down_proj", "w2", back, ("mlp.experts.down_proj", 0, 1)),
        ):
            names = [f"{_PUBLISHED}.experts.{number}.{matrix}.weight" for number in range(self.experts)]
            yield Tensor(f"mlp.experts.{name}.weight", size, lies=experts(names, size, *lies))

    def window(self, given: Given) -> int | None:
        """Its window, which llama.cpp does not keep to."""
        return given.size("sliding_window") if given.get("sliding_window") is not None else None

    def says(self, given: Given) -> dict[str, Value]:
        """How many experts there are, and how many a token asks."""
        return {"expert_count": self.experts, "expert_used_count": given.size("num_experts_per_tok")}

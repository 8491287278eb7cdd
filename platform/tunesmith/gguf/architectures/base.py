"""What most architectures have in common: a block of attention and a gated feed-forward layer, norms before each.

An architecture is a class in a file of its own that says what it does otherwise: names, tensors, fields of the file,
and what llama.cpp would compute otherwise, which is refused. Reads no weights.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from tunesmith.gguf.architectures.given import Given
from tunesmith.gguf.architectures.parts import Part, Tensor
from tunesmith.gguf.architectures.positions import PLAIN, Positions, positions_of, rope_part
from tunesmith.gguf.file import Value, library
from tunesmith.spec.base import Notice

_MOST_LAYERS = 4096
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Architecture:
    """A model of one architecture, as its configuration says it.

    Args:
        config: What of `config.json` is read (`tunesmith.model_folder.readable_config`).

    Raises:
        NotConvertible: A GGUF file cannot hold it; names the field and why.
    """

    model_type: ClassVar[str]
    """The library's word for it."""
    word: ClassVar[str]
    """llama.cpp's."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """What the library takes where a configuration leaves it out."""
    activations: ClassVar[tuple[str, tuple[str, ...]]] = ("hidden_act", ("silu", "swish"))
    """The field that names the feed-forward layer's function, and what llama.cpp has."""
    turns_pairs: ClassVar[bool] = False
    """Whether ggml turns numbers that lie side by side: queries and keys are then put into pairs."""
    ways_of_scaling: ClassVar[tuple[str, ...]] = PLAIN
    """The ways of scaling positions that llama.cpp has in it."""
    may_turn_a_part: ClassVar[bool] = False
    """Whether it has heads of which a part alone is turned."""
    norms_plus: ClassVar[float] = 0.0
    """What the library adds to the weights of norms as it computes."""
    needs_head: ClassVar[bool] = False
    """Whether llama.cpp reads a head of its own always, and never takes the embedding for it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        given = Given(config, self.defaults)
        self.layers = given.size("num_hidden_layers")
        if self.layers > _MOST_LAYERS:
            raise given.refused("num_hidden_layers", f"is above {_MOST_LAYERS}")
        self.hidden = given.size("hidden_size")
        self.heads = given.size("num_attention_heads")
        self.kv_heads = given.size("num_key_value_heads", self.heads)
        self.head_size = given.size("head_dim", self.hidden // self.heads)
        self.inner = given.size("intermediate_size")
        self.experts = 0
        """How many a block has, of which each token asks some; 0 of a model without."""
        self.words = given.size("vocab_size")
        """Rows of the embedding."""
        self.ties_ends = given.flag("tie_word_embeddings")
        """Whether the embedding is the head too."""
        field, known = self.activations
        if (given.text(field) or known[0]) not in known:
            why = f"is `{given.text(field)}`; llama.cpp computes this architecture with `{known[0]}`"
            raise given.refused(field, why)
        self.refuse(given)
        if self.heads % self.kv_heads or self.head_size % 2:
            raise given.refused("num_key_value_heads", "does not divide the heads")
        positions = self.positions(given)
        context, notices = self._context(given)
        self.factors = positions.factors
        """What the turning of each pair is divided by, as tensors of the file."""
        self.notices: tuple[Notice, ...] = positions.notices + notices
        said = {"context_length": context} | self._sizes(given) | positions.metadata | self.says(given)
        self.metadata: dict[str, Value] = {f"{self.word}.{key}": value for key, value in said.items()}

    # --- what an architecture says

    def refuse(self, given: Given) -> None:
        """Refuse what it can be told to do that llama.cpp does not do.

        Raises:
            NotConvertible: Names the field.
        """

    def says(self, given: Given) -> dict[str, Value]:
        """Fields of the file that no other architecture has, or has otherwise."""
        return {}

    def window(self, given: Given) -> int | None:
        """Tokens that each position sees, where llama.cpp does not keep to it; None where it sees all, or does."""
        return None

    def positions(self, given: Given) -> Positions:
        """How positions turn queries and keys."""
        rope, ways = rope_part(given), self.ways_of_scaling
        return positions_of(given, rope, self.head_size, ways, may_be_partial=self.may_turn_a_part)

    def block(self) -> Iterator[Tensor]:
        """The tensors of a layer, by their names inside it."""
        yield self.norm("input_layernorm", self.hidden)
        yield from self.attention()
        yield from self.feed_forward()
        yield self.norm("post_attention_layernorm", self.hidden)

    def attention(self) -> Iterator[Tensor]:
        """Queries, keys, values, and the way back."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        heads, kv_heads = (self.heads, self.kv_heads) if self.turns_pairs else (0, 0)
        yield from self.linear("self_attn.q_proj", queries, self.hidden, heads)
        yield from self.linear("self_attn.k_proj", keys, self.hidden, kv_heads)
        yield from self.linear("self_attn.v_proj", keys, self.hidden)
        yield from self.linear("self_attn.o_proj", self.hidden, queries)

    def feed_forward(self) -> Iterator[Tensor]:
        """What comes behind the attention."""
        yield from self.linear("mlp.gate_proj", self.inner, self.hidden)
        yield from self.linear("mlp.up_proj", self.inner, self.hidden)
        yield from self.linear("mlp.down_proj", self.hidden, self.inner)

    def has_bias(self, layer: str) -> bool:
        """Whether a linear layer, by its name inside a block, has one."""
        return False

    # --- what is made of it

    def linear(self, name: str, rows: int, columns: int, heads: int = 0) -> Iterator[Tensor]:
        """A linear layer's matrix, and its bias."""
        yield Tensor(f"{name}.weight", (rows, columns), heads)
        if self.has_bias(name):
            yield Tensor(f"{name}.bias", (rows,), heads)

    def norm(self, name: str, size: int) -> Tensor:
        """A norm's weights."""
        return Tensor(f"{name}.weight", (size,), plus=self.norms_plus)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the file, by the names that `names_in_file` takes."""
        shape = (self.words, self.hidden)
        found = [Tensor(EMBEDDING, shape)]
        for layer in range(self.layers):
            found += [_inside(f"model.layers.{layer}.", tensor) for tensor in self.block()]
        found.append(self.norm("model.norm", self.hidden))
        if self.ties_ends and self.needs_head:
            found.append(Tensor(HEAD, shape, lies=((Part(EMBEDDING, shape),),)))
        elif not self.ties_ends:
            found.append(Tensor(HEAD, shape))
        return {tensor.name: tensor for tensor in found}

    @property
    def is_tied(self) -> bool:
        """Whether the file's embedding is its head too."""
        return self.ties_ends and not self.needs_head

    def names_in_file(self, names: Iterable[str]) -> dict[str, str]:
        """What tensors are called in the file; by the library's own table, which takes long to make."""
        gguf = library()
        kinds = {word: kind for kind, word in gguf.MODEL_ARCH_NAMES.items()}
        table = gguf.get_tensor_name_map(kinds[self.word], self.layers)
        found = {name: table.get_name(name, (".weight", ".bias")) for name in names}
        assert all(found.values()), found
        return found

    def _sizes(self, given: Given) -> dict[str, Value]:
        return {
            "embedding_length": self.hidden,
            "block_count": self.layers,
            "feed_forward_length": self.inner,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head_size,
            "attention.value_length": self.head_size,
            "attention.layer_norm_rms_epsilon": given.number("rms_norm_eps"),
            "vocab_size": self.words,
        }

    def _context(self, given: Given) -> tuple[int, tuple[Notice, ...]]:
        """Tokens that the file is for, and what is to be said of them."""
        context, window = given.size("max_position_embeddings"), self.window(given)
        if window is None or window >= context:
            return context, ()
        # Up to the window both compute the same.
        notice = Notice(
            field="sliding_window",
            message=f"Each position sees {window} tokens (`sliding_window`), which llama.cpp does not do here: the "
            f"file is for {window} tokens instead of {context}.",
        )
        return window, (notice,)


def _inside(prefix: str, tensor: Tensor) -> Tensor:
    lies = tuple(tuple(part._replace(name=prefix + part.name) for part in way) for way in tensor.lies)
    return tensor._replace(name=prefix + tensor.name, lies=lies)

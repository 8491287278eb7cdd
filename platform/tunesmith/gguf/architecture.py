"""What a model's configuration comes to in a GGUF file: its metadata, its tensors, and what has no place there.

Knows the Llama family: Llama, Mistral, Qwen 2 and 3, as transformers 5 and 4 write their configurations. Reads no
weights.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tunesmith.gguf.file import Value, library
from tunesmith.gguf.problems import cannot
from tunesmith.model_folder.configuration import CONFIG
from tunesmith.spec.base import Notice


class _Kind(NamedTuple):
    """A model type of transformers."""

    name: str
    """llama.cpp's word for it."""
    turns_pairs: bool
    """Whether ggml turns numbers that lie side by side: queries and keys are then put into pairs."""
    has_bias: bool = False
    """Whether queries, keys and values always have one."""
    has_norms: bool = False
    """Whether the heads of queries and keys have norms of their own."""


KINDS = {
    "llama": _Kind("llama", turns_pairs=True),
    "mistral": _Kind("llama", turns_pairs=True),
    "qwen2": _Kind("qwen2", turns_pairs=False, has_bias=True),
    "qwen3": _Kind("qwen3", turns_pairs=False, has_norms=True),
}
"""The model types that are converted."""


_MOST_LAYERS = 4096
_THETA = 10000.0
"""What the library takes where a configuration does not say it."""


class Expected(NamedTuple):
    """A tensor that a model of these sizes has."""

    shape: tuple[int, ...]
    heads: int = 0
    """See `Planned.heads`."""


class Architecture(NamedTuple):
    """A model's sizes, as its configuration says them."""

    kind: _Kind
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    words: int
    """Rows of the embedding."""
    is_tied: bool
    attention_bias: bool
    mlp_bias: bool
    metadata: dict[str, Value]
    rope_factors: tuple[float, ...]
    """What the turning of each pair is divided by (Llama 3); empty for none."""
    notices: tuple[Notice, ...]

    def tensors(self) -> dict[str, Expected]:
        """Every tensor by its name in the folder."""
        found = {"model.embed_tokens.weight": Expected((self.words, self.hidden))}
        for layer in range(self.layers):
            found |= {f"model.layers.{layer}.{name}": tensor for name, tensor in self._block()}
        found["model.norm.weight"] = Expected((self.hidden,))
        if not self.is_tied:
            found["lm_head.weight"] = Expected((self.words, self.hidden))
        return found

    def _block(self) -> Iterator[tuple[str, Expected]]:
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        turned = self.kind.turns_pairs
        yield "input_layernorm.weight", Expected((self.hidden,))
        for name, rows, columns, heads, has_bias in (
            ("self_attn.q_proj", queries, self.hidden, self.heads if turned else 0, self.kind.has_bias),
            ("self_attn.k_proj", keys, self.hidden, self.kv_heads if turned else 0, self.kind.has_bias),
            ("self_attn.v_proj", keys, self.hidden, 0, self.kind.has_bias),
            ("self_attn.o_proj", self.hidden, queries, 0, False),
            ("mlp.gate_proj", self.inner, self.hidden, 0, False),
            ("mlp.up_proj", self.inner, self.hidden, 0, False),
            ("mlp.down_proj", self.hidden, self.inner, 0, False),
        ):
            yield f"{name}.weight", Expected((rows, columns), heads)
            if has_bias or (self.attention_bias if name.startswith("self") else self.mlp_bias):
                yield f"{name}.bias", Expected((rows,), heads)
        if self.kind.has_norms:
            yield "self_attn.q_norm.weight", Expected((self.head_size,))
            yield "self_attn.k_norm.weight", Expected((self.head_size,))
        yield "post_attention_layernorm.weight", Expected((self.hidden,))

    def names_in_file(self, names: Iterable[str]) -> dict[str, str]:
        """What tensors are called in the file; by the library's own table, which takes long to make."""
        gguf = library()
        kinds = {word: kind for kind, word in gguf.MODEL_ARCH_NAMES.items()}
        table = gguf.get_tensor_name_map(kinds[self.kind.name], self.layers)
        found = {name: table.get_name(name, (".weight", ".bias")) for name in names}
        assert all(found.values()), found
        return found


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """What `config.json` says, as far as a GGUF file can hold it.

    Args:
        config: What of it is read (`tunesmith.model_folder.readable_config`).

    Raises:
        NotConvertible: It cannot; names the field and why.
    """
    given = _Given(config)
    model_type = given.text("model_type")
    kind = KINDS.get(model_type)
    if kind is None:
        raise cannot("model_type", f"is `{model_type}`, which is none of {_listed(KINDS)}", file=CONFIG)
    hidden, heads = given.size("hidden_size"), given.size("num_attention_heads")
    head_size = given.size("head_dim", None if kind.has_norms else hidden // heads)
    kv_heads = given.size("num_key_value_heads", heads if model_type == "llama" else None)
    layers = given.size("num_hidden_layers")
    if layers > _MOST_LAYERS:
        raise cannot("num_hidden_layers", f"is above {_MOST_LAYERS}", file=CONFIG)
    _refuse_otherwise(given, kind)
    if heads % kv_heads or head_size % 2:
        raise cannot("num_key_value_heads", "does not divide the heads", file=CONFIG)
    metadata, factors = _rope(given, head_size)
    context, notices = _context(given, model_type)
    metadata |= {
        "context_length": context,
        "embedding_length": hidden,
        "block_count": layers,
        "feed_forward_length": given.size("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head_size,
        "attention.value_length": head_size,
        "attention.layer_norm_rms_epsilon": given.number("rms_norm_eps"),
        "rope.dimension_count": head_size,
        "vocab_size": given.size("vocab_size"),
    }
    return Architecture(
        kind=kind,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        inner=given.size("intermediate_size"),
        words=given.size("vocab_size"),
        is_tied=config.get("tie_word_embeddings") is True,
        # The library reads them of Llama alone (and one of Qwen 3, refused above).
        attention_bias=model_type == "llama" and config.get("attention_bias") is True,
        mlp_bias=model_type == "llama" and config.get("mlp_bias") is True,
        metadata={f"{kind.name}.{key}": value for key, value in metadata.items()},
        rope_factors=factors,
        notices=notices,
    )


class _Given:
    """A configuration, or a part of it, with errors that name the field."""

    def __init__(self, config: Mapping[str, Any], place: str = "") -> None:
        self.config = config
        self.place = place

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number above 0."""
        found = self.config.get(name)
        found = default if found is None else found
        if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 2**31:
            raise cannot(self.place + name, "is no whole number above 0", file=CONFIG)
        return found

    def number(self, name: str, default: float | None = None) -> float:
        """A number above 0."""
        given = self.config.get(name)
        given = default if given is None else given
        found = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else 0.0
        if not 0 < found < math.inf:
            raise cannot(self.place + name, "is no number above 0", file=CONFIG)
        return found

    def text(self, name: str) -> str:
        """A word; empty where there is none."""
        return str(self.config.get(name) or "")


def _refuse_otherwise(given: _Given, kind: _Kind) -> None:
    """What the architecture can be told to do that llama.cpp does not do."""
    activation = given.text("hidden_act") or "silu"
    if activation not in ("silu", "swish"):
        raise cannot(
            "hidden_act", f"is `{activation}`; llama.cpp computes this architecture with `silu`", file=CONFIG
        )
    if kind.has_norms and given.config.get("attention_bias"):
        raise cannot(
            "attention_bias", "adds a bias that llama.cpp does not have in this architecture", file=CONFIG
        )
    if given.config.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise cannot("partial_rotary_factor", "turns a part of each head alone", file=CONFIG)


def _context(given: _Given, model_type: str) -> tuple[int, tuple[Notice, ...]]:
    """Tokens that the file is for, and what is to be said of them."""
    context = given.size("max_position_embeddings")
    window = given.config.get("sliding_window")
    is_used = model_type == "mistral" or given.config.get("use_sliding_window") is True
    if model_type == "llama" or not is_used or not isinstance(window, int) or window >= context:
        return context, ()
    # Up to the window both compute the same; llama.cpp has no window for these architectures.
    notice = Notice(
        field="sliding_window",
        message=f"Each position sees {window} tokens (`sliding_window`), which llama.cpp does not do here: the file is "
        f"for {window} tokens instead of {context}.",
    )
    return window, (notice,)


_ROPE_KEYS = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset(
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
    ),
    "yarn": frozenset(
        {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"}
    ),
}
"""The ways of turning positions that are written, with the fields that each reads."""


def _rope(given: _Given, head_size: int) -> tuple[dict[str, Value], tuple[float, ...]]:
    """How positions turn queries and keys: as metadata, and as what each pair's turning is divided by."""
    name = "rope_parameters"
    found = given.config.get(name)
    if not isinstance(found, Mapping):  # as transformers 4 wrote it
        name, scaling = "rope_scaling", given.config.get("rope_scaling")
        found = scaling if isinstance(scaling, Mapping) else {}
    rope = _Given(found, f"{name}.")
    kind = rope.text("rope_type") or rope.text("type") or "default"
    if kind not in _ROPE_KEYS:
        raise cannot(
            f"{name}.rope_type",
            f"is `{kind}`: only {_listed(_ROPE_KEYS)} have a place in the file",
            file=CONFIG,
        )
    for key, value in found.items():
        if key not in _ROPE_KEYS[kind] | {"rope_type", "type", "rope_theta"} and value is not None:
            if kind == "default" and key in ("factor", "original_max_position_embeddings"):
                continue  # read by nobody there
            if key == "partial_rotary_factor" and value in (1, 1.0):
                continue
            raise cannot(f"{name}.{key}", f"has no place in the file beside `{kind}`", file=CONFIG)
    theta = rope.number("rope_theta", given.number("rope_theta", _THETA))
    metadata: dict[str, Value] = {"rope.freq_base": theta}
    if kind == "linear":
        return metadata | {"rope.scaling.type": "linear", "rope.scaling.factor": rope.number("factor")}, ()
    if kind == "llama3":
        return metadata, _llama3_factors(rope, theta, head_size)
    if kind == "yarn":
        return metadata | _yarn(rope, given), ()
    return metadata, ()


def _yarn(rope: _Given, given: _Given) -> dict[str, Value]:
    factor = rope.number("factor")
    expected = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    if not math.isclose(rope.number("attention_factor", expected), expected, rel_tol=1e-6):
        raise cannot(f"{rope.place}attention_factor", "is another one than llama.cpp takes", file=CONFIG)
    context = given.size("max_position_embeddings")
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": rope.size("original_max_position_embeddings", context),
        "rope.scaling.yarn_beta_fast": rope.number("beta_fast", 32.0),
        "rope.scaling.yarn_beta_slow": rope.number("beta_slow", 1.0),
    }


def _llama3_factors(rope: _Given, theta: float, head_size: int) -> tuple[float, ...]:
    """What each pair's turning is divided by: 1 for fast ones, `factor` for slow ones, and between."""
    factor, original = rope.number("factor"), rope.number("original_max_position_embeddings")
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if not low < high:
        raise cannot(f"{rope.place}high_freq_factor", "is not above `low_freq_factor`", file=CONFIG)

    def of(pair: int) -> float:
        length = 2 * math.pi * float(theta ** (2 * pair / head_size))
        if length < original / high:
            return 1.0
        if length > original / low:
            return factor
        smooth = (original / length - low) / (high - low)
        return 1 / ((1 - smooth) / factor + smooth)

    return tuple(of(pair) for pair in range(head_size // 2))


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)

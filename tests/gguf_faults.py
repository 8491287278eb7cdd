"""Faults planted into finished GGUF files, by rewriting them tensor by tensor; no test itself. The proof knows none.

Each takes a whole file's path and writes another one; where it needs the model, it takes the weights from elsewhere.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Tensors = dict[str, tuple[np.ndarray, Any]]
"""By names: the data as the file has it, and its type."""
Fields = dict[str, Any]


def rewritten(source: Path, target: Path, change: Callable[[Fields, Tensors], None]) -> Path:
    """A file with something changed."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(source)
    kinds = {name: (field.types[0], field.types[-1]) for name, field in reader.fields.items()}
    fields: Fields = {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")
    }
    tensors: Tensors = {tensor.name: (tensor.data.copy(), tensor.tensor_type) for tensor in reader.tensors}
    change(fields, tensors)
    writer = GGUFWriter(target, fields["general.architecture"])
    for name, value in fields.items():
        if name == "general.architecture":
            continue
        kind, inner = kinds.get(name, (GGUFValueType.UINT32, None))
        writer.add_key_value(name, value, kind, sub_type=inner if kind == GGUFValueType.ARRAY else None)
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def swapped(fields: Fields, tensors: Tensors) -> None:
    """Two matrices of a layer that have the same size."""
    one, other = "blk.0.ffn_up.weight", "blk.0.ffn_gate.weight"
    tensors[one], tensors[other] = tensors[other], tensors[one]


def other_template(fields: Fields, tensors: Tensors) -> None:
    """Another template than was trained with: a line's end that lacks."""
    fields["tokenizer.chat_template"] = fields["tokenizer.chat_template"].replace(
        "<|im_end|>\\n", "<|im_end|>"
    )


def other_end(fields: Fields, tensors: Tensors) -> None:
    """Another token ends answers."""
    for name in list(fields):
        if name.startswith("tokenizer.ggml.eo") and name.endswith("token_id"):
            del fields[name]
    kinds = fields["tokenizer.ggml.token_type"]
    words = fields["tokenizer.ggml.tokens"]
    ends = [place for place, word in enumerate(words) if word in ("<|im_end|>", "<|endoftext|>")]
    for place in ends:  # llama.cpp knows these words by heart
        words[place] = f"<|was{place}|>"
        kinds[place] = 3
    fields["tokenizer.ggml.eos_token_id"] = next(place for place in range(5, len(words)) if place not in ends)


def without_permutation(fields: Fields, tensors: Tensors) -> None:
    """Queries and keys in the library's order, of a model in an unquantised type."""
    heads = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}
    for name, (data, kind) in list(tensors.items()):
        for part, field in heads.items():
            if f".{part}.weight" in name:
                count = fields[f"llama.{field}"]
                half = data.shape[0] // count // 2
                turned = data.reshape(count, half, 2, -1).swapaxes(1, 2).reshape(data.shape)
                tensors[name] = np.ascontiguousarray(turned), kind


def without_rope_factors(fields: Fields, tensors: Tensors) -> None:
    """Llama 3's factors lost."""
    del tensors["rope_freqs.weight"]


def with_nan(fields: Fields, tensors: Tensors) -> None:
    """A block whose scale is no number, in a row that no text asks for."""
    data, kind = tensors["token_embd.weight"]
    raw = data.view(np.uint8).reshape(len(data), -1)
    raw[-1, :2] = np.array([np.nan], np.float16).view(np.uint8)
    tensors["token_embd.weight"] = data, kind


def two_heads(fields: Fields, tensors: Tensors) -> None:
    """A tied head written a second time, and differently."""
    data, kind = tensors["token_embd.weight"]
    tensors["output.weight"] = np.ascontiguousarray(data[::-1]), kind


def without_added_word(fields: Fields, tensors: Tensors) -> None:
    """A turn mark that nobody knows any more, as a converter writes one that is not in its words."""
    words = fields["tokenizer.ggml.tokens"]
    place = next(words.index(mark) for mark in ("<|im_start|>", "<|im_end|>") if mark in words)
    words[place] = f"[PAD{place}]"
    fields["tokenizer.ggml.token_type"][place] = 5


CHANGES: dict[str, Callable[[Fields, Tensors], None]] = {
    "swapped tensors": swapped,
    "wrong template": other_template,
    "wrong end token": other_end,
    "missing permutation": without_permutation,
    "lost rope factors": without_rope_factors,
    "NaN block": with_nan,
    "tied head written twice and different": two_heads,
    "dropped added token": without_added_word,
}


# --- what no text that is tried shows


def norms_of_layers(fields: Fields, tensors: Tensors) -> None:
    """The norms of two layers."""
    one, other = (f"blk.{layer}.attn_norm.weight" for layer in (0, 1))
    tensors[one], tensors[other] = tensors[other], tensors[one]


def other_order(fields: Fields, tensors: Tensors) -> None:
    """Two rare merges in the other order."""
    merges = fields.get("tokenizer.ggml.merges")
    if merges is not None:
        merges[-9], merges[-2] = merges[-2], merges[-9]
        return
    scores, words = fields["tokenizer.ggml.scores"], fields["tokenizer.ggml.tokens"]
    kinds = fields["tokenizer.ggml.token_type"]
    merged = [place for place, word in enumerate(words) if kinds[place] == 1 and len(word) > 2]
    one, other = sorted(merged, key=lambda place: scores[place])[2:30:27]
    scores[one], scores[other] = scores[other], scores[one]


def other_kind(fields: Fields, tensors: Tensors) -> None:
    """A mark that is shown as a word is: llama.cpp knows this one by heart, others not."""
    fields["tokenizer.ggml.token_type"][fields["tokenizer.ggml.tokens"].index("<|im_end|>")] = 4


def turned_more(fields: Fields, tensors: Tensors) -> None:
    """Positions turned from another base by a hundredth."""
    fields[next(name for name in fields if name.endswith("rope.freq_base"))] *= 1.01


def other_branch(fields: Fields, tensors: Tensors) -> None:
    """A template that is another one where tools are given."""
    fields["tokenizer.chat_template"] = "{% if tools %}# Tools{% endif %}" + fields["tokenizer.chat_template"]


def ends_lost(fields: Fields, tensors: Tensors) -> None:
    """The first of the tokens that end an answer, and no other."""
    for name in ("eot", "eom"):
        del fields[f"tokenizer.ggml.{name}_token_id"]


def sign_of_a_block(fields: Fields, tensors: Tensors) -> None:
    """One block of a matrix whose scale lost its sign."""
    data, _ = tensors["blk.1.ffn_down.weight"]
    data.view(np.uint8).reshape(len(data), -1)[24, 1] ^= 0x80


def rows_of_rare_words(fields: Fields, tensors: Tensors) -> None:
    """Two rows of the embedding."""
    data, _ = tensors["token_embd.weight"]
    data[[200, 300]] = data[[300, 200]]


def rare_words(fields: Fields, tensors: Tensors) -> None:
    """Two words of the vocabulary."""
    words, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    *_, one, _, _, other = (place for place, kind in enumerate(kinds) if kind == 1)
    words[one], words[other] = words[other], words[one]


def other_epsilon(fields: Fields, tensors: Tensors) -> None:
    """What a norm adds before it divides, ten times."""
    fields[next(name for name in fields if name.endswith("rms_epsilon"))] *= 10


def other_begin(fields: Fields, tensors: Tensors) -> None:
    """A begin mark where texts have none, and none where they have one."""
    fields["tokenizer.ggml.add_bos_token"] = not fields["tokenizer.ggml.add_bos_token"]


def shorter(fields: Fields, tensors: Tensors) -> None:
    """Half the context."""
    fields[next(name for name in fields if name.endswith("context_length"))] //= 2


UNSEEN: dict[str, Callable[[Fields, Tensors], None]] = {
    "merges in another order": other_order,
    "the sign of a block": sign_of_a_block,
    "ends lost": ends_lost,
    "half the context": shorter,
    "norms of two layers": norms_of_layers,
    "a mark of another kind": other_kind,
    "turned by a hundredth more": turned_more,
    "another branch of the template": other_branch,
    "rows of rare words": rows_of_rare_words,
    "rare words": rare_words,
    "another epsilon": other_epsilon,
    "another begin": other_begin,
}
"""Faults that no text of a proof asks for, or hardly; the first four stand for the rest."""

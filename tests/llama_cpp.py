"""llama.cpp, as the wheel `xllamacpp` brings it: what it makes of a GGUF file, of texts and of tokens. No test itself.

Each question is a process of its own: llama.cpp ends its process over some files. The C functions are called by ctypes,
since the wheel's own interface gives no ids and no logits. Its two structures of settings are kept as they come, in a
block that is larger than they are; of the batch, which has not changed for years, the fields are named.
"""

import ctypes as c
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CONTEXT = 512
"""Tokens that a context holds where nothing else is said."""
_SECONDS = 120


def ask(
    model: Path,
    *,
    texts: list[str] = [],  # noqa: B006  (never changed)
    ids: list[int] | None = None,
    greedy: int = 0,
    lora: Path | None = None,
) -> dict[str, Any]:
    """What llama.cpp makes of a file.

    Args:
        model: The GGUF file.
        texts: To be tokenised, without and with what belongs around every text.
        ids: Tokens to compute the logits of, at most `CONTEXT` with the answer.
        greedy: How many tokens to write after them, always the likeliest.
        lora: An adapter's GGUF file that is used.

    Returns:
        `facts`; `plain` and `around`, lists of ids for each text; `logits` (tokens x words, numpy); `written`, the ids.

    Raises:
        RuntimeError: It does not load the file; with what it said.
    """
    import numpy as np
    from required import require

    require(find_spec("xllamacpp"), "The package `xllamacpp`")
    question = {"model": str(model), "texts": texts, "ids": ids, "greedy": greedy, "lora": lora and str(lora)}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GGML_", "LLAMA_"))
    }
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(question).encode(),
        capture_output=True,
        check=False,
        timeout=_SECONDS,
        env=environment,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"llama.cpp ended with {done.returncode}: {done.stderr.decode(errors='replace')[-1500:]}"
        )
    head, _, raw = done.stdout.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    if ids is not None:
        answer["logits"] = np.frombuffer(raw, np.float32).reshape(len(ids), -1)
    return answer


class _Settings(c.Structure):
    _fields_ = (("block", c.c_uint64 * 128),)


class _Batch(c.Structure):
    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    )


_POINTER = (
    "llama_model_load_from_file llama_init_from_model llama_model_get_vocab llama_get_logits llama_adapter_lora_init "
    "llama_model_chat_template llama_vocab_get_text"
)


def _library() -> Any:
    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    library = c.CDLL(str(next(Path(spec.origin).parent.glob("*.so"))))
    for name in _POINTER.split():
        getattr(library, name).restype = c.c_void_p
    library.llama_model_default_params.restype = _Settings
    library.llama_context_default_params.restype = _Settings
    library.llama_batch_init.restype = _Batch
    library.llama_vocab_is_eog.restype = c.c_bool
    return library


def _pointer(found: int | None, what: str) -> c.c_void_p:
    if not found:
        raise SystemExit(f"{what} is not loaded")
    return c.c_void_p(found)


def _tokenize(library: Any, vocab: c.c_void_p, text: str, *, around: bool) -> list[int]:
    raw = text.encode("utf-8", "surrogatepass")
    room = (c.c_int32 * (len(raw) + 16))()
    count = library.llama_tokenize(vocab, raw, len(raw), room, len(room), c.c_bool(around), c.c_bool(True))
    assert count >= 0, f"needs {-count} tokens"
    return list(room[:count])


def _decode(library: Any, context: c.c_void_p, ids: list[int], start: int) -> Any:
    """The logits of every token, as one block of floats."""
    batch = library.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, start + place, 1
        batch.seq_id[place][0], batch.logits[place] = 0, 1
    assert library.llama_decode(context, batch) == 0
    found = library.llama_get_logits(context)
    library.llama_batch_free(batch)
    return found


def _answer(question: dict[str, Any]) -> None:
    import numpy as np

    library = _library()
    library.llama_backend_init()
    path = question["model"].encode()
    model = _pointer(
        library.llama_model_load_from_file(path, library.llama_model_default_params()), "the model"
    )
    vocab = _pointer(library.llama_model_get_vocab(model), "the vocabulary")
    words = library.llama_vocab_n_tokens(vocab)
    template = library.llama_model_chat_template(model, None)
    answer: dict[str, Any] = {
        "facts": {
            "words": words,
            "bos": library.llama_vocab_bos(vocab),
            "eos": library.llama_vocab_eos(vocab),
            "ends": [token for token in range(words) if library.llama_vocab_is_eog(vocab, token)],
            "context": library.llama_model_n_ctx_train(model),
            "template": c.string_at(template).decode() if template else None,
        },
        "plain": [_tokenize(library, vocab, text, around=False) for text in question["texts"]],
        "around": [_tokenize(library, vocab, text, around=True) for text in question["texts"]],
        "written": [],
    }
    raw = b""
    if question["ids"] is not None:
        settings = library.llama_context_default_params()
        context = _pointer(library.llama_init_from_model(model, settings), "the context")
        library.llama_set_n_threads(context, 1, 1)
        if question["lora"]:
            found = library.llama_adapter_lora_init(model, question["lora"].encode())
            adapters = (c.c_void_p * 1)(_pointer(found, "the adapter"))
            assert library.llama_set_adapters_lora(context, adapters, 1, (c.c_float * 1)(1.0)) == 0
        ids = question["ids"]
        block = c.string_at(_decode(library, context, ids, 0), len(ids) * words * 4)
        raw = block
        last = np.frombuffer(block, np.float32).reshape(len(ids), words)[-1]
        for place in range(question["greedy"]):
            answer["written"].append(int(last.argmax()))
            block = c.string_at(
                _decode(library, context, answer["written"][-1:], len(ids) + place), words * 4
            )
            last = np.frombuffer(block, np.float32)
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + raw)


if __name__ == "__main__":
    _answer(json.load(sys.stdin))

"""What the real llama.cpp makes of a GGUF file: ids of texts, conversations as its template writes them, logits.

Asked in a process of its own, since llama.cpp ends its process over some files. The C functions of the wheel
`xllamacpp` are called by ctypes, for its own interface gives no ids and no logits; conversations are rendered by its
server, over loopback. The two structures of settings are kept as they come, in blocks larger than they are. Knows
ctypes and numpy; knows nothing of what is right.
"""

import ctypes as c
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOKENS = 512
"""Tokens that a context holds where its settings are left as they come: all that is asked fits in."""
_SETTINGS_OF_OTHERS = ("GGML_", "LLAMA_", "OMP_", "GOMP_")
_SETTINGS = {"GOMP_SPINCOUNT": "0"}
"""Threads that wait for each other give the core away: beside other work it is many times as fast."""
_HTTP_SECONDS = 60
_LAST_CHARACTERS = 1500


class Question(BaseModel):
    """What is asked of a file."""

    model: str
    lora: str | None = Field(None, description="An adapter's file that is used.")
    texts: list[str] = Field(default_factory=list, description="To be tokenised, alone.")
    conversations: list[list[dict[str, str]]] = Field(
        default_factory=list, description="To be rendered and tokenised."
    )
    sequences: list[list[int]] = Field(default_factory=list, description="To compute the logits of.")
    greedy: int = Field(
        0, ge=0, description="How many tokens to write after the first, the likeliest each time."
    )
    logits: str | None = Field(
        None, description="The file that takes the logits, as fp32, one after another."
    )
    threads: int = 1


class Facts(BaseModel):
    """What a file says of itself, as llama.cpp reads it."""

    words: int
    bos: int
    eos: int
    ends: list[int] = Field(description="The tokens that end an answer.")
    context: int
    adds_bos: bool
    template: str | None = None


class Answer(BaseModel):
    """What llama.cpp makes of it."""

    facts: Facts
    ids: list[list[int]] = Field(description="Of each text, without what belongs around every text.")
    rendered: list[str | None] = Field(
        description="Of each conversation; null where its template refuses it."
    )
    rendered_ids: list[list[int]]
    written: list[int] = Field(description="After the first sequence.")


class Refused(NamedTuple):
    """It does not load the file, or ended over it."""

    words: str


def longest() -> int:
    """Tokens that a sequence may have."""
    return _TOKENS


def ask(question: Question, seconds: float) -> Answer | Refused:
    """Ask in a process of its own.

    Args:
        question: What.
        seconds: After which it is given up.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS_OF_OTHERS)
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=question.model_dump_json().encode(),
            capture_output=True,
            check=False,
            timeout=seconds,
            env=environment | _SETTINGS | {"OMP_NUM_THREADS": str(question.threads)},
        )
    except subprocess.TimeoutExpired:
        return Refused(f"llama.cpp did not answer within {seconds:.0f} s.")
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-_LAST_CHARACTERS:]
        return Refused(f"llama.cpp ended with {done.returncode}: {said}")
    return Answer.model_validate_json(done.stdout.splitlines()[-1])


def logits_of(file: Path, sequences: list[list[int]], words: int) -> "list[NDArray[np.float32]]":
    """The logits that were written, of each sequence (tokens x words), read as they are looked at."""
    import numpy as np

    found, at = [], 0
    for ids in sequences:
        shape = (len(ids), words)
        found.append(np.memmap(file, np.float32, "r", at * words * 4, shape))
        at += len(ids)
    return found


# --- in the process


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


_POINTERS = (
    "llama_model_load_from_file llama_init_from_model llama_model_get_vocab llama_get_logits llama_adapter_lora_init "
    "llama_model_chat_template llama_get_memory"
)
_TRUTHS = "llama_vocab_is_eog llama_vocab_get_add_bos"


class _LlamaCpp:
    """A loaded file."""

    def __init__(self, question: Question) -> None:
        spec = find_spec("xllamacpp")
        if spec is None or spec.origin is None:
            raise SystemExit("The package `xllamacpp` is not installed.")
        self._library = library = c.CDLL(str(next(Path(spec.origin).parent.glob("*.so"))))
        for name in _POINTERS.split():
            getattr(library, name).restype = c.c_void_p
        for name in _TRUTHS.split():
            getattr(library, name).restype = c.c_bool
        library.llama_model_default_params.restype = _Settings
        library.llama_context_default_params.restype = _Settings
        library.llama_batch_init.restype = _Batch
        library.llama_backend_init()
        self._model = self._loaded(
            library.llama_model_load_from_file(
                os.fsencode(question.model), library.llama_model_default_params()
            ),
            "the file",
        )
        self._vocab = c.c_void_p(library.llama_model_get_vocab(self._model))
        self.words = int(library.llama_vocab_n_tokens(self._vocab))
        self._context = self._loaded(
            library.llama_init_from_model(self._model, library.llama_context_default_params()), "a context"
        )
        if library.llama_n_ctx(self._context) < _TOKENS:
            raise SystemExit("This llama.cpp has smaller contexts than are known.")
        library.llama_set_n_threads(self._context, question.threads, question.threads)
        if question.lora is not None:
            adapter = self._loaded(
                library.llama_adapter_lora_init(self._model, os.fsencode(question.lora)), "the adapter"
            )
            adapters = (c.c_void_p * 1)(adapter)
            if library.llama_set_adapters_lora(self._context, adapters, 1, (c.c_float * 1)(1.0)):
                raise SystemExit("The adapter does not go with the file.")

    def _loaded(self, found: int | None, what: str) -> c.c_void_p:
        if not found:
            raise SystemExit(f"{what} is not loaded")
        return c.c_void_p(found)

    def facts(self) -> Facts:
        library, vocab = self._library, self._vocab
        template = library.llama_model_chat_template(self._model, None)
        return Facts(
            words=self.words,
            bos=library.llama_vocab_bos(vocab),
            eos=library.llama_vocab_eos(vocab),
            ends=[token for token in range(self.words) if library.llama_vocab_is_eog(vocab, token)],
            context=library.llama_model_n_ctx_train(self._model),
            adds_bos=library.llama_vocab_get_add_bos(vocab),
            template=c.string_at(template).decode() if template else None,
        )

    def tokenize(self, text: str, *, around: bool = False) -> list[int]:
        raw = text.encode("utf-8", "surrogatepass")
        room = (c.c_int32 * (len(raw) + 16))()
        count = self._library.llama_tokenize(
            self._vocab, raw, len(raw), room, len(room), c.c_bool(around), c.c_bool(True)
        )
        if count < 0:
            raise SystemExit(f"a text of {len(raw)} bytes has {-count} tokens")
        return list(room[:count])

    def clear(self) -> None:
        self._library.llama_memory_clear(
            c.c_void_p(self._library.llama_get_memory(self._context)), c.c_bool(True)
        )

    def logits(self, ids: list[int], start: int = 0) -> bytes:
        """The logits behind each token, as fp32."""
        batch = self._library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, start + place, 1
            batch.seq_id[place][0], batch.logits[place] = 0, 1
        ended = self._library.llama_decode(self._context, batch)
        if ended:
            raise SystemExit(f"the computation ended with {ended}")
        found = c.string_at(self._library.llama_get_logits(self._context), len(ids) * self.words * 4)
        self._library.llama_batch_free(batch)
        return found


def _rendered(question: Question) -> list[str | None]:
    """Conversations as the file's own template writes them, in llama.cpp's Jinja, with an answer opened."""
    if not question.conversations:
        return []
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = question.model
    settings.n_ctx, settings.n_parallel, settings.port = _TOKENS, 1, 0
    settings.use_jinja, settings.warmup = True, False
    settings.cpuparams.n_threads = question.threads
    server = xllamacpp.Server(settings)
    # `trust_env=False`: it is asked on this machine, and no proxy is to see a model's texts.
    with httpx.Client(base_url=server.listening_address, timeout=_HTTP_SECONDS, trust_env=False) as client:
        answers = [client.post("/apply-template", json={"messages": one}) for one in question.conversations]
    return [one.json()["prompt"] if one.is_success else None for one in answers]


def _answer(question: Question) -> Answer:
    import numpy as np

    rendered = _rendered(question)
    loaded = _LlamaCpp(question)
    written: list[int] = []
    with open(question.logits or os.devnull, "wb") as file:  # noqa: PTH123
        for ids in question.sequences:
            loaded.clear()
            file.write(loaded.logits(ids))
    if question.greedy and question.sequences:
        ids = question.sequences[0]
        loaded.clear()
        last = loaded.logits(ids)
        for place in range(min(question.greedy, _TOKENS - len(ids))):
            row = np.frombuffer(last, np.float32).reshape(-1, loaded.words)[-1]
            written.append(int(row.argmax()))
            last = loaded.logits(written[-1:], len(ids) + place)
    return Answer(
        facts=loaded.facts(),
        ids=[loaded.tokenize(text) for text in question.texts],
        rendered=rendered,
        rendered_ids=[[] if text is None else loaded.tokenize(text) for text in rendered],
        written=written,
    )


if __name__ == "__main__":
    # What llama.cpp says goes to stderr; stdout is the answer's.
    sys.stdout.write(
        "\n" + _answer(Question.model_validate_json(sys.stdin.buffer.read())).model_dump_json() + "\n"
    )

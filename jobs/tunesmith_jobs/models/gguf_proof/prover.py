"""Proving the files of a package: the library's side once, then llama.cpp's of each file.

Where the memory does not hold the model in fp32, what needs no computing is looked at all the same, and the file is
said to be not proven. Knows the reference, llama.cpp and the checks; knows nothing of storages.
"""

import functools
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.artifacts import sha256_of
from tunesmith.errors import InvalidInput
from tunesmith.gguf import FileType, Importance
from tunesmith.gguf.split import parts_beside
from tunesmith.gguf.text_rules import has_marks
from tunesmith.model_folder.configuration import GENERATION
from tunesmith.model_folder.files import MAX_CONFIG_BYTES
from tunesmith.removal import discard_file
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.template import template_of
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.json_file import read_object
from tunesmith.rows.tokens.same_ids import sample_texts
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.memory import processor_name, spare_memory
from tunesmith_jobs.models.gguf_proof import asked, checks
from tunesmith_jobs.models.gguf_proof.checks import Expected, Heard
from tunesmith_jobs.models.gguf_proof.known import Known, known_of
from tunesmith_jobs.models.gguf_proof.proof import Check, Proof, concluded
from tunesmith_jobs.models.gguf_proof.reference import Reference, needed_bytes
from tunesmith_jobs.models.gguf_proof.said_check import check_adapter, check_sizes, check_words, probed
from tunesmith_jobs.models.gguf_proof.sentences import CONVERSATIONS, HOSTILE, SENTENCES
from tunesmith_jobs.models.gguf_proof.weights_check import FileTensors, look

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GREEDY = 24
_SECONDS = 3600.0
_ALL = 2**31 - 1
_PARTS = 384
"""Tokens of a sequence of sentences that logits are compared at."""
_LEAST = 1200
"""Tokens that logits are compared at where there are no conversations."""


class Subject(NamedTuple):
    """The model that files are proven to be."""

    base: Path
    """Its folder; the base's of an adapter."""
    adapter: Path | None
    encoder: Path
    """The folder whose tokenizer and template it was trained with."""
    tokenizer: Path | None
    """Another folder whose tokenizer was used instead."""
    training: TrainSpec
    is_chat: bool
    written_from: Path | None = None
    """The folder that was written, where an adapter was merged into one first: its ends may share no weights now."""
    space_before: bool = False
    """Whether its tokenizer puts a space before a text, and llama.cpp does not (a notice says so)."""
    matrix: Importance | None = None
    """What its files were quantised with."""
    cuts_at_marks: bool = False
    """Whether llama.cpp cuts words at marks on letters where its tokenizer does not (a notice says so)."""
    written_by: str | None = None
    """The program of somebody else's that wrote its files; None of our own."""
    takes_tokens: bool = False
    """Whether the file is only ever given tokens, which somebody else writes: its own texts do not matter then."""


class Prover:
    """Proves files of one model.

    Args:
        subject: The model.
        scratch: Takes logits.
        check: Asked before every step that takes long; what it raises ends the proof.
        threads: That llama.cpp computes with.
        busy: Where it is seen whether answers are asked, to which llama.cpp gives way too (`busy.Busy`).
    """

    def __init__(
        self,
        subject: Subject,
        scratch: Path,
        check: Callable[[], None] = lambda: None,
        threads: int = 1,
        busy: Path | None = None,
    ) -> None:
        self._busy = busy
        self._subject, self._scratch, self._check, self._threads = subject, scratch, check, threads
        self._known = known = known_of(subject.written_from or subject.base)
        self._tokenizer = tokenizer = load_tokenizer(subject.tokenizer or subject.encoder)
        self._template = None
        if subject.is_chat:
            own = str(subject.tokenizer) if subject.tokenizer else None
            asked_for = subject.training.chat_template
            self._template = template_of(subject.encoder, tokenizer=own, chat_template=asked_for).source
        marks = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values())
        self._texts = [text for text in _texts(marks) if not (subject.cuts_at_marks and has_marks(text))]
        self._asked = [_spaced(text, marks) if subject.space_before else text for text in self._texts]
        """As they are asked of the file."""
        self._expected = _expected(subject, known, tokenizer, self._texts)
        self._sequences = _sequences(self._expected)
        self._heard: Heard | None = None
        self._weights: dict[str, Callable[[], NDArray[np.float32] | None]] = {}
        """What each tensor of the file must be, put together as it is looked at."""
        self._changes: dict[str, NDArray[np.float64]] = {}
        """What the adapter adds to each matrix, as `probed` tells it."""
        self.missing: str | None = None
        """Why files are not proven whole."""
        self._missing_zh: str | None = None
        longest = max(len(ids) for ids in self._sequences)
        self.needed = needed = needed_bytes(known.numbers, known.words, longest)
        """Bytes of memory that the library's side takes."""
        if needed > spare_memory():
            self.missing = f"the model beside it needs {needed / 1e9:.1f} GB of memory"
            self._missing_zh = f"旁边的模型需要 {needed / 1e9:.1f} GB 内存"

    def prepare(self) -> None:
        """Compute the library's side, where the memory holds it."""
        if self.missing is not None or self._heard is not None:
            return
        subject = self._subject
        reference = Reference(subject.base, subject.adapter, subject.training, self._check)
        logits = [self._kept(reference.logits(ids)) for ids in self._sequences]
        greedy = reference.greedy(self._sequences[0], _GREEDY)
        self._heard = Heard(logits, greedy, reference.turning())
        architecture = self._known.architecture
        if architecture is None:
            return
        expected = architecture.tensors()
        names = architecture.names_in_file(expected)
        for of, change in reference.changes():
            for name, tensor in expected.items():
                added = tensor.numbers({of: change})
                if added is not None:
                    self._changes[names[name]] = probed(added)
        weights = dict(reference.weights())
        self._weights = {
            names[name]: functools.partial(tensor.numbers, weights) for name, tensor in expected.items()
        }

    @property
    def conversations(self) -> list[tuple[list[dict[str, str]], list[int]]]:
        """The conversations with the ids that the training writes of them; those that its template takes."""
        pairs = zip(CONVERSATIONS, self._expected.conversations, strict=False)
        return [(list(turns), ids) for turns, ids in pairs if ids]

    def _kept(self, logits: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """The same on the disk: of a large vocabulary they are more than some models."""
        import numpy as np

        file = self._scratch / f".reference.{secrets.token_hex(6)}.logits"
        logits.tofile(file)
        found = np.memmap(file, np.float32, "r", shape=logits.shape)
        discard_file(file)  # it lies there for as long as it is open
        return found

    def prove(self, file: Path, file_type: FileType, lora: Path | None = None) -> Proof:
        """Prove a file.

        Args:
            file: The whole model's; the first, where it is split.
            file_type: What it is stored as.
            lora: An adapter's file that is to be proven over it: `file` is then its base's.
        """
        self.prepare()
        self._check()
        subject = lora or file
        sums = {part.name: sha256_of(part) for part in parts_beside(subject)}
        found = Proof(
            file=subject.name,
            sha256=sums[subject.name],
            parts=sums if len(sums) > 1 else {},
            type="LoRA" if lora else file_type.value,
            verdict="failed",
            missing=self.missing,
            missing_zh=self._missing_zh,
            written_by=self._subject.written_by,
        )
        logits = self._scratch / f".{subject.name}.{secrets.token_hex(6)}.logits"
        question = asked.Question(
            model=str(file),
            lora=str(lora) if lora else None,
            texts=[] if self._subject.takes_tokens else self._asked,
            conversations=list(CONVERSATIONS)
            if self._subject.is_chat and not self._subject.takes_tokens
            else [],
            sequences=self._sequences,
            greedy=_GREEDY,
            logits=str(logits),
            threads=self._threads,
            busy=str(self._busy) if self._busy else None,
        )
        try:
            answer = asked.ask(question, _SECONDS)
            if isinstance(answer, asked.Refused):
                found.checks.append(
                    Check(name="reads", passed=False, words=answer.words, words_zh=answer.words_zh)
                )
                return concluded(found)
            found.checks.append(
                Check(name="reads", passed=True, words="llama.cpp reads it", words_zh="llama.cpp 可以读取")
            )
            if not self._subject.takes_tokens:
                found.checks += checks.check_texts(answer, self._expected)
            if answer.written and answer.write_seconds:
                found.tokens_per_second = len(answer.written) / answer.write_seconds
                found.measured_on = f"{self._threads} threads of {processor_name()}"
            found.checks += self._tensors(file, lora)
            if self._heard is not None and answer.facts.words == self._expected.words:
                made = asked.logits_of(logits, self._sequences, answer.facts.words)
                found.difference = checks.difference(self._heard.logits, made)
                has_experts = self._known.has_experts
                found.checks.append(
                    checks.check_difference(file_type, found.difference, has_experts=has_experts)
                )
                found.checks.append(
                    checks.check_likeliest(file_type, found.difference, has_experts=has_experts)
                )
                found.checks.append(checks.check_greedy(file_type, self._heard.greedy, answer.written))
        finally:
            discard_file(logits)
        return concluded(found)

    def _tensors(self, file: Path, lora: Path | None) -> list[Check]:
        tensors = FileTensors(file)
        done = [checks.check_numbers(tensors.broken(self._check))]
        architecture = self._known.architecture
        if architecture is not None and self._subject.written_by is None:
            done.append(check_sizes(tensors, architecture.metadata))
            if not self._subject.takes_tokens:
                done.append(check_words(tensors, self._tokenizer, self._template))
        if self._heard is None or architecture is None:
            return done
        if lora is not None:
            return [*done, check_adapter(FileTensors(lora), self._changes)]
        done.append(checks.check_weights(look(tensors, self._weights, self._check, self._subject.matrix)))
        kind = architecture.word
        scaling = tensors.field(f"{kind}.rope.scaling.type")
        if self._heard.turning is not None and scaling in (None, "none"):
            theta = float(tensors.field(f"{kind}.rope.freq_base") or 0)
            factors = tensors.whole("rope_freqs.weight") if "rope_freqs.weight" in tensors.names else None
            done.append(checks.check_turning(theta, factors, self._heard.turning))
        return done


def _texts(marks: tuple[str, ...]) -> list[str]:
    """What is tokenised: our sentences and strings, and those that ids are compared by everywhere, in one Unicode form.

    Characters in two parts are left out: where that makes a difference, a notice of the file says so.
    """
    found = (*SENTENCES, *HOSTILE, *sample_texts(marks))
    return [text for text in dict.fromkeys(found) if unicodedata.is_normalized("NFC", text)]


def _spaced(text: str, marks: tuple[str, ...]) -> str:
    """A text as the notice says it: with a space before it where it begins with a word."""
    return text if not text or text.startswith((" ", "▁", *marks)) else f" {text}"


def _expected(subject: Subject, known: Known, tokenizer: Any, texts: Sequence[str]) -> Expected:
    conversations: list[list[int] | None] = []
    ends: list[int] = []
    if subject.is_chat:
        encoder = PromptEncoder.from_folder(
            subject.encoder,
            _ALL,
            tokenizer=subject.tokenizer,
            chat_template=subject.training.chat_template,
        )
        end = encoder.end_of_answer()
        ends += [] if end is None else [end]
        for turns in CONVERSATIONS:
            try:
                conversations.append(encoder.prompt([Message(one["role"], one["content"]) for one in turns]))
            except (RowProblem, InvalidInput):
                conversations.append(None)
    around = tokenizer.encode("a").ids
    alone = tokenizer.encode("a", add_special_tokens=False).ids
    return Expected(
        ids=[tokenizer.encode(text, add_special_tokens=False).ids for text in texts],
        conversations=conversations,
        ends=[*ends, *_ends_said(subject.encoder)],
        bos=around[0] if around[:1] != alone[:1] else None,
        words=known.words,
        context=known.context,
    )


def _ends_said(folder: Path) -> list[int]:
    """The tokens that a folder's generation settings name as ends."""
    file = folder / GENERATION
    said = read_object(file, MAX_CONFIG_BYTES).get("eos_token_id") if file.is_file() else None
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, int)]


def _sequences(expected: Expected) -> list[list[int]]:
    """What logits are compared at: each conversation, or as many tokens of sentences; the shortest comes first."""
    most = max(1, min(asked.longest(), expected.context))
    chats = sorted((ids[:most] for ids in expected.conversations if ids), key=len)
    words = [token for ids in expected.ids for token in ids][: _PARTS if chats else _LEAST]
    step = min(_PARTS, most)
    texts = [words[begin : begin + step] for begin in range(0, len(words), step)]
    first = (chats or texts)[0][: max(1, most - _GREEDY)]
    return [first, *chats[1:], *texts] if chats else [first, *texts[1:]]

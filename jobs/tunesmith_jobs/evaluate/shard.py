"""What one Ray task of an evaluation does: answers to a few samples, and how likely their reference answers are.

A worker's process serves one task after the other, and Ray gives it the next one: the base that it has loaded stays.
Knows torch through the engine; knows nothing of who asks.
"""

import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import InvalidData
from tunesmith.evaluation.results import Sample
from tunesmith.model_folder.facts import context_length
from tunesmith.model_step import ModelDocument
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.files.json_file import read_object
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.evaluate.answers import Known, as_json
from tunesmith_jobs.models.libraries import prepare_libraries
from tunesmith_jobs.models.library_tokenizer import library_tokenizer
from tunesmith_jobs.models.prompting import prompt_encoder

HOW = frozenset(
    {
        "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    }
)  # fmt: skip
"""The settings that say how an answer is made."""


class Question(NamedTuple):
    """A sample as it goes to a worker."""

    sample: str
    """`Sample` as JSON."""
    key: str
    seed: int
    draft: list[int] | None


def prepare(cpus: float) -> None:
    """Set the process up as a worker: one that is used again keeps the threads that it had."""
    prepare_libraries()
    import torch

    threads = max(1, int(cpus))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def own_folder(scratch: str) -> Path:
    """A folder of this process's own: those beside it on a node fetch and write the same names."""
    folder = Path(scratch) / f"worker-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def encoder_of(document: ModelDocument, scratch: Path) -> PromptEncoder:
    """What writes prompts as the candidate's training wrote them.

    Raises:
        InvalidModel: It has no chat template.
    """
    template = TrainSpec.stored(document.training).chat_template
    key = (document.encoder_path, document.tokenizer_path, template)
    if key not in _ENCODERS:
        own = Path(document.tokenizer_path) if document.tokenizer_path else None
        found = library_tokenizer(Path(document.encoder_path), own, scratch / "library")
        if found.folder is not None:
            document = document.model_copy(update={"tokenizer_path": str(found.folder)})
        _ENCODERS[key] = prompt_encoder(document, template)
    return _ENCODERS[key]


_ENCODERS: dict[tuple[str, str | None, str | None], PromptEncoder] = {}
"""Those that this process has made, by what they are made of."""


def prompt_of(encoder: PromptEncoder, sample: Sample) -> list[int]:
    """The tokens of what a sample asks, with an answer opened at their end.

    Raises:
        InvalidData: It cannot be written.
    """
    try:
        return encoder.prompt([Message(turn.role, turn.content) for turn in sample.turns])
    except RowProblem as problem:
        raise InvalidData(
            f"Sample {sample.row} of `{sample.split}`: {problem.message}", hint=problem.hint
        ) from problem


def reference_of(encoder: PromptEncoder, sample: Sample) -> tuple[list[int], list[int]] | None:
    """The tokens before the reference answer, and its own, as the training encodes both; None where it cannot.

    The answer's are those that a training would learn: the mark that ends it is among them.
    """
    messages = [Message(turn.role, turn.content) for turn in sample.turns]
    try:
        encoded = encoder.encode([*messages, Message("assistant", sample.reference)])
    except RowProblem:
        return None
    if not encoded.trained:
        return None
    begin, end = encoded.trained[-1]
    ids = list(encoded.input_ids)
    return ids[:begin], ids[begin:end]


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Answer some samples.

    Args:
        order: `document` (a `ModelDocument` as JSON), `questions` (see `Question`), `how` (see `Sampling`, without
            seeds), `batch_size`, `cpus`, `scratch`.

    Returns:
        `answers`: `Known` answers as JSON; `seconds`: what they took; `precision`: what they were computed in.

    Raises:
        InvalidModel: The candidate cannot be loaded.
        InvalidData: A sample cannot be asked.
    """
    began = time.monotonic()
    prepare(order["cpus"])
    from tunesmith_jobs.evaluate.engine import Engine, Sampling

    document = ModelDocument.model_validate_json(order["document"])
    questions = [Question(*one) for one in order["questions"]]
    samples = [Sample.model_validate_json(one.sample) for one in questions]
    scratch = own_folder(order["scratch"])
    encoder = encoder_of(document, scratch)
    prompts = [prompt_of(encoder, sample) for sample in samples]
    pairs = [reference_of(encoder, sample) for sample in samples]
    _refuse_long(document, samples, prompts, pairs, order["how"]["max_new_tokens"])
    engine = _engine(Engine, document, scratch)
    how = Sampling(**order["how"], seeds=[one.seed for one in questions], batch_size=order["batch_size"])
    made = engine.answer(prompts, how, [one.draft for one in questions])
    measured = [pair for pair in pairs if pair is not None and pair[1]]
    sums = iter(engine.likelihoods(measured, order["batch_size"]))
    found = []
    for question, answer, pair in zip(questions, made, pairs, strict=True):
        is_measured = pair is not None and bool(pair[1])
        found.append(
            Known(
                key=question.key,
                text=encoder.text(answer.tokens),
                tokens=list(answer.tokens),
                ended=answer.ended,
                nll=next(sums) if is_measured else None,
                reference_tokens=len(pair[1]) if pair is not None and is_measured else 0,
            )
        )
    return {
        "answers": as_json(found),
        "seconds": time.monotonic() - began,
        "precision": engine.used.choice.precision,
    }


def effects(order: dict[str, Any]) -> list[float | None]:
    """How much each adapter changes the logits of its base over some samples; None for what is no adapter.

    Args:
        order: `documents` (each a `ModelDocument` as JSON), `samples` (all of them, as JSON: each is looked at, and the
            first `count` are asked), `count`, `max_new_tokens`, `cpus`, `scratch`.

    Raises:
        InvalidData: A sample is longer than the model reads.
    """
    prepare(order["cpus"])
    from tunesmith_jobs.evaluate.engine import Engine

    samples = [Sample.model_validate_json(one) for one in order["samples"]]
    scratch = own_folder(order["scratch"])
    first = ModelDocument.model_validate_json(order["documents"][0])
    encoder = encoder_of(first, scratch)
    prompts = [prompt_of(encoder, sample) for sample in samples]
    pairs = [reference_of(encoder, sample) for sample in samples]
    _refuse_long(first, samples, prompts, pairs, order["max_new_tokens"])
    samples = samples[: order["count"]]
    found: list[float | None] = []
    for text in order["documents"]:
        document = ModelDocument.model_validate_json(text)
        if not TrainSpec.stored(document.training).use_lora:
            found.append(None)
            continue
        encoder = encoder_of(document, scratch)
        engine = _engine(Engine, document, scratch)
        found.append(engine.effect([prompt_of(encoder, sample) for sample in samples], len(samples)))
    return found


_ENGINES: dict[str, Any] = {}
"""The engine that this process has, by the task that it was made for."""


def forget() -> None:
    """Let the engine go that this process has: its memory is wanted for something else."""
    _ENGINES.clear()


def _engine(kind: Any, document: ModelDocument, scratch: Path) -> Any:
    """An engine that uses the document's candidate; the one that is there where it can."""
    engine = _ENGINES.get(document.task_id)
    if engine is None:
        _ENGINES.clear()  # another evaluation's: one base at a time
        engine = _ENGINES[document.task_id] = kind.of(document, scratch)
    engine.use(document)
    return engine


def _refuse_long(
    document: ModelDocument,
    samples: Sequence[Sample],
    prompts: Sequence[Sequence[int]],
    pairs: Sequence[tuple[list[int], list[int]] | None],
    new: int,
) -> None:
    """Refuse what is longer than the model reads, before it costs anything: beyond, answers mean nothing."""
    limit = _context(document.encoder_path)
    if limit is None:
        return
    for sample, prompt, pair in zip(samples, prompts, pairs, strict=True):
        expected = len(pair[0]) + len(pair[1]) if pair is not None else 0
        if len(prompt) + new <= limit and expected <= limit:
            continue
        is_answer = len(prompt) + new > limit
        told = (
            f"{len(prompt)} tokens and {new} of an answer"
            if is_answer
            else (f"{expected} tokens with the expected answer")
        )
        raise InvalidData(
            f"Sample {sample.row} of `{sample.split}`: {told} are more than the {limit} that the model reads.",
            hint="Lower `max_new_tokens`, or shorten the sample." if is_answer else "Shorten the sample.",
        )


@functools.lru_cache(maxsize=8)
def _context(folder: str) -> int | None:
    """How many tokens a model reads at most, as its `config.json` says; None where it does not."""
    return context_length(read_object(Path(folder) / "config.json"))

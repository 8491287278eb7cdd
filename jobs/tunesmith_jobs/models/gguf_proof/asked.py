"""What the real llama.cpp makes of a GGUF file: ids of texts, conversations as its template writes them, logits.

Asked in a process of its own, since llama.cpp ends its process over some files. Conversations are rendered by the
wheel's own server, over loopback; all else by `tunesmith_jobs.models.llama_cpp`. Knows nothing of what is right.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
from pydantic import BaseModel, Field

from tunesmith_jobs.models.busy import GivingWay
from tunesmith_jobs.models.llama_cpp import CHUNK, Fed, Model, Unsupported

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
    busy: str | None = Field(None, description="Where it is seen whether answers are asked: it gives way.")


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
    write_seconds: float = Field(0.0, description="Which that took, one token after another.")


class Refused(NamedTuple):
    """It does not load the file, or ended over it."""

    words: str
    words_zh: str


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
        return Refused(
            f"llama.cpp did not answer within {seconds:.0f} s", f"llama.cpp 在 {seconds:.0f} 秒内没有回答"
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-_LAST_CHARACTERS:]
        return Refused(
            f"llama.cpp ended with {done.returncode}: {said}", f"llama.cpp 以 {done.returncode} 结束：{said}"
        )
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


def _computed(model: Model, lora: str | None, ids: list[int], start: int = 0) -> Iterator[bytes]:
    """The logits behind each token, as fp32, in order."""
    for begin in range(0, len(ids), CHUNK):
        some = ids[begin : begin + CHUNK]
        fed = [Fed(0, token, start + begin + place, True) for place, token in enumerate(some)]
        yield from (row.tobytes() for row in model.compute(lora, fed))


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

    give_way = GivingWay(Path(question.busy)) if question.busy else lambda: None
    rendered = _rendered(question)
    model = Model(question.model, 1, _TOKENS, question.threads)
    lora = None
    if question.lora is not None:
        lora = "lora"
        model.add_adapter(lora, question.lora)
    written: list[int] = []
    seconds = 0.0
    with open(question.logits or os.devnull, "wb") as file:  # noqa: PTH123
        for ids in question.sequences:
            give_way()
            model.keep(0, 0)
            file.writelines(_computed(model, lora, ids))
    if question.greedy and question.sequences:
        ids = question.sequences[0]
        model.keep(0, 0)
        *_, last = _computed(model, lora, ids)
        began = time.perf_counter()
        for place in range(min(question.greedy, _TOKENS - len(ids))):
            written.append(int(np.frombuffer(last, np.float32).argmax()))
            (last,) = _computed(model, lora, written[-1:], len(ids) + place)
        seconds = time.perf_counter() - began
    return Answer(
        facts=Facts(
            words=model.words,
            bos=model.bos,
            eos=model.eos,
            ends=model.ends,
            context=model.context_length,
            adds_bos=model.adds_bos,
            template=model.template,
        ),
        ids=[model.tokenize(text) for text in question.texts],
        rendered=rendered,
        rendered_ids=[[] if text is None else model.tokenize(text) for text in rendered],
        written=written,
        write_seconds=seconds,
    )


if __name__ == "__main__":
    # What llama.cpp says goes to stderr; stdout is the answer's.
    try:
        found = _answer(Question.model_validate_json(sys.stdin.buffer.read()))
    except (Unsupported, RuntimeError) as error:
        raise SystemExit(str(error)) from error
    sys.stdout.write(f"\n{found.model_dump_json()}\n")

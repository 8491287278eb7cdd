"""Ask a model and its tuned self the same questions: `python -m tunesmith_jobs.ask --model DIR --adapter DIR
--question TEXT ...`; or a GGUF file in llama.cpp, by its own tokenizer and template: `--gguf FILE`.

Prints JSON: each question with the base's and the tuned model's answer, both greedy, from one load of the base; of a
file with its answer.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.turns import Message
from tunesmith_jobs.models.reading import load_model, stay_offline

MAX_NEW_TOKENS = 60
_ALL = 2**31 - 1
"""Nothing of a question is cut."""


def ask(
    model: Path, adapter: Path | None, questions: list[str], max_new_tokens: int = MAX_NEW_TOKENS
) -> dict[str, dict[str, str | None]]:
    """Answer each question greedily.

    Args:
        model: The base model's folder, or a fully tuned one.
        adapter: The LoRA's folder; None asks the base alone.
        questions: Each asked as the only message of a conversation.
        max_new_tokens: Tokens an answer may have.

    Returns:
        Question -> `base` and `tuned` answer; `tuned` is None without an adapter.
    """
    stay_offline()
    from transformers.utils import logging as library

    from tunesmith_jobs.models.adapters import attach
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer

    library.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="tunesmith-tokenizer-") as scratch:
        found = library_tokenizer(model, None, Path(scratch))
        encoder = PromptEncoder.from_folder(model, _ALL, tokenizer=found.folder)
    network = load_model(model, dtype="float32")
    if adapter is not None:
        network = attach(network, adapter, "CAUSAL_LM")
    network.eval()
    answers: dict[str, dict[str, str | None]] = {}
    for question in questions:
        with network.disable_adapter() if adapter is not None else contextlib.nullcontext():
            base = _answer(network, encoder, question, max_new_tokens)
        tuned = _answer(network, encoder, question, max_new_tokens) if adapter is not None else None
        answers[question] = {"base": base, "tuned": tuned}
    return answers


def ask_gguf(file: Path, questions: list[str], max_new_tokens: int = MAX_NEW_TOKENS) -> dict[str, str]:
    """Let llama.cpp's own server answer from a file, greedily: nothing but the file says how.

    Args:
        file: A whole model's GGUF file.
        questions: Each asked as the only message of a conversation.
        max_new_tokens: Tokens an answer may have.

    Raises:
        InvalidInput: There is no such file, or the package `xllamacpp` is not installed.
    """
    if not file.is_file():
        raise InvalidInput(f"There is no file `{file}`.", hint="Check the path.")
    if find_spec("xllamacpp") is None:
        raise InvalidInput(
            "llama.cpp is not installed.", hint='Install it: `pip install "tunesmith[serve]"`.'
        )
    import httpx
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.port, settings.n_parallel = str(file), 0, 1
    settings.use_jinja, settings.warmup = True, False
    server = xllamacpp.Server(settings)
    answers = {}
    # `trust_env=False`: it is asked on this machine, past any proxy.
    with httpx.Client(base_url=server.listening_address, timeout=600, trust_env=False) as client:
        for question in questions:
            asked = {
                "messages": [{"role": "user", "content": question}],
                "max_tokens": max_new_tokens,
                "temperature": 0,
            }
            reply = client.post("/v1/chat/completions", json=asked).raise_for_status().json()
            answers[question] = str(reply["choices"][0]["message"]["content"]).strip()
    return answers


def _answer(network: Any, encoder: PromptEncoder, question: str, max_new_tokens: int) -> str:
    import torch

    from tunesmith_jobs.models.build import pad_id

    ids = torch.tensor([encoder.prompt([Message("user", question)])])
    # The end of an assistant's turn ends the answer, whatever the configuration calls its end of text.
    known = network.config.eos_token_id
    ends = {*(known if isinstance(known, list) else [known]), encoder.end_of_answer()} - {None}
    with torch.no_grad():
        output = network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(ends) or None,
            pad_token_id=pad_id(network),
        )
    said = [token for token in output[0][ids.shape[1] :].tolist() if token not in ends]
    return encoder.text(said).strip()


def main() -> None:
    """Read the command line, answer, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path)
    which.add_argument("--gguf", type=Path, metavar="FILE")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--question", nargs="+", action="extend", required=True)
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    given = parser.parse_args()
    answers: dict[str, Any]
    if given.gguf is not None:
        try:
            answers = ask_gguf(given.gguf, given.question, given.max_new_tokens)
        except InvalidInput as error:
            parser.error(f"{error.message} {error.hint}")
    else:
        answers = ask(given.model, given.adapter, given.question, given.max_new_tokens)
    json.dump(answers, sys.stdout, ensure_ascii=False, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

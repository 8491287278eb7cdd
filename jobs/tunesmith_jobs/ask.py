"""Ask a model and its tuned self the same questions: `python -m tunesmith_jobs.ask --model DIR --adapter DIR
--question TEXT ...`.

Prints JSON: each question with the base's and the tuned model's answer, both greedy, from one load of the base.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

MAX_NEW_TOKENS = 60


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
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as library

    library.disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    if adapter is not None:
        from peft import PeftModel

        network = PeftModel.from_pretrained(network, adapter)
    network.eval()
    answers: dict[str, dict[str, str | None]] = {}
    for question in questions:
        with network.disable_adapter() if adapter is not None else contextlib.nullcontext():
            base = _answer(network, tokenizer, question, max_new_tokens)
        tuned = _answer(network, tokenizer, question, max_new_tokens) if adapter is not None else None
        answers[question] = {"base": base, "tuned": tuned}
    return answers


def _answer(network: Any, tokenizer: Any, question: str, max_new_tokens: int) -> str:
    import torch

    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    # The end of an assistant's turn ends the answer, whatever the configuration calls its end of text.
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")} - {None}
    with torch.no_grad():
        output = network.generate(
            **asked,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends),
        )
    return str(tokenizer.decode(output[0][asked["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def main() -> None:
    """Read the command line, answer, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--question", nargs="+", action="extend", required=True)
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    given = parser.parse_args()
    answers = ask(given.model, given.adapter, given.question, given.max_new_tokens)
    json.dump(answers, sys.stdout, ensure_ascii=False, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

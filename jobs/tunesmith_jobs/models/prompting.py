"""How a loaded model is asked: the encoder of its prompts, and the tokens that end its answers.

Knows the document's tokenizer and template, and what transformers' settings call an end; knows nothing of who asks.
"""

from typing import Any

from tunesmith.model_step import ModelDocument
from tunesmith.rows.chat.prompts import PromptEncoder

ALL = 2**31 - 1
"""Nothing of a prompt is cut: one that is too long is refused."""


def prompt_encoder(document: ModelDocument, chat_template: str | None) -> PromptEncoder:
    """The encoder of a document's model.

    Raises:
        InvalidModel: It has no chat template.
    """
    return PromptEncoder.from_folder(
        document.encoder_path, ALL, tokenizer=document.tokenizer_path, chat_template=chat_template
    )


def stop_ids(model: Any, encoder: PromptEncoder) -> set[int]:
    """The tokens that end an answer: the model's own, and the mark that the chat template writes behind one."""
    found: set[int] = set()
    for config in (getattr(model, "generation_config", None), model.config):
        given = getattr(config, "eos_token_id", None)
        found |= set(given if isinstance(given, list) else [given])
    return {number for number in (*found, encoder.end_of_answer()) if isinstance(number, int)}

"""Dialogues that a template wrote into one text already: `[INST] ... [/INST] ...`, `### Instruction:` ... .

Trained as a text they teach the questions as the answers are taught; as a question they get the model's own template
around another's. Both may be meant, so they are said and not refused. Knows strings only; knows nothing of tokenizers.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.rows.chat.turns import Message

_LOOKED_AT = 4000
"""Characters at a text's beginning in which a question and its answer begin."""
_AT_END = 60
"""Characters at a question's end in which another template asks for the answer."""


class _Form(NamedTuple):
    name: str
    question: str
    answer: str


_MARKS = (
    _Form("ChatML", "<|im_start|>user", "<|im_start|>assistant"),
    _Form("Llama 3", "<|start_header_id|>user", "<|start_header_id|>assistant"),
    _Form("Llama 4", "<|header_start|>user", "<|header_start|>assistant"),
    _Form("Llama 2", "[INST]", "[/INST]"),
    _Form("Gemma", "<start_of_turn>user", "<start_of_turn>model"),
    _Form("Zephyr", "<|user|>", "<|assistant|>"),
    _Form("DeepSeek", "<｜User｜>", "<｜Assistant｜>"),
    _Form("Command R", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
    _Form("Granite", "<|start_of_role|>user", "<|start_of_role|>assistant"),
    _Form("gpt-oss", "<|start|>user", "<|start|>assistant"),
    _Form("Kimi", "<|im_user|>", "<|im_assistant|>"),
    _Form("EXAONE", "[|user|]", "[|assistant|]"),
    _Form("Seed-OSS", "<seed:bos>user", "<seed:bos>assistant"),
    _Form("Baichuan", "<reserved_106>", "<reserved_107>"),
    _Form("Apertus", "<|user_start|>", "<|assistant_start|>"),
    _Form("InternLM", "<|User|>:", "<|Bot|>:"),
    _Form("MOSS", "<|Human|>:", "<|MOSS|>:"),
    _Form("MiniCPM", "<用户>", "<AI>"),
    _Form("OpenChat", "GPT4 Correct User:", "GPT4 Correct Assistant:"),
)
"""Marks that nothing but a template writes: wherever they stand."""
_HEADINGS = (
    _Form("Alpaca", "### Instruction", "### Response"),
    _Form("Guanaco", "### Human:", "### Assistant:"),
    _Form("### Instruction", "### Instruction:", "### Output:"),
    _Form("### User", "### User:", "### Assistant:"),
    _Form("### Question", "### Question:", "### Answer:"),
    _Form("Alpaca", "### 指令", "### 回答"),
    _Form("Alpaca", "### 问题", "### 回答"),
)
"""Headings, which other texts may have: where a line begins, in any case; the answer's also behind a blank."""
_NAMES = (
    _Form("Vicuna", "USER:", "ASSISTANT:"),
    _Form("Human/Assistant", "Human:", "Assistant:"),
    _Form("User/Assistant", "User:", "Assistant:"),
    _Form("用户/助手", "用户：", "助手："),
    _Form("用户/助手", "用户:", "助手:"),
    _Form("Phi-2", "Instruct:", "Output:"),
    _Form("ChatGLM", "问：", "答："),
)
"""Names before what is said, as plays have them too: the question's where the text begins."""
_BEHIND = ("", ":", "：", "<|end_header_id|>", "<|header_end|>", "<|end_of_role|>", "<|message|>")
"""What templates write between an answer's mark and the answer."""
_BEGINS = re.compile(r"\s*(?:<s>|<\|begin_of_text\|>|<bos>|\[Round \d+\])?\s*")


def rendered_as(sample: Sequence[Message] | str) -> str | None:
    """The template that wrote a whole dialogue into a text, or a question that asks for its answer already.

    Args:
        sample: A text, or a conversation, whose last question is looked at.

    Returns:
        What the template is called; None where none did.
    """
    if isinstance(sample, str):
        return _dialogue(sample[:_LOOKED_AT])
    asked = next((turn.content for turn in reversed(sample) if turn.role == "user"), "")
    end = asked[-_AT_END:].rstrip()
    for form in (*_MARKS, *_HEADINGS, *_NAMES):
        at = end.casefold().rfind(form.answer.casefold())
        if at >= 0 and end[at + len(form.answer) :] in _BEHIND and _dialogue(asked) == form.name:
            return form.name
    return None


def _dialogue(text: str) -> str | None:
    for form in _MARKS:
        if form.answer in text and form.question in text[: text.index(form.answer)]:
            return form.name
    for form in _HEADINGS if "### " in text else ():
        if _headed(form, text):
            return form.name
    begin = _BEGINS.match(text)
    bare = text[begin.end() :] if begin else text
    for form in _NAMES:
        if bare.startswith(form.question) and re.search(rf"\s{re.escape(form.answer)}", bare):
            return form.name
    return None


def _headed(form: _Form, text: str) -> bool:
    how = re.MULTILINE | re.IGNORECASE
    asked = re.search(rf"^{re.escape(form.question)}", text, how)
    return asked is not None and bool(
        re.compile(rf"\s{re.escape(form.answer)}", how).search(text, asked.end())
    )

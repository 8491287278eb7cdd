"""Dialogues that a template wrote before they were given to us are said, in a text and in a question."""

from pathlib import Path
from typing import Any

import pytest
from meant_rows import found, spec, write
from tiny_model import make_tokenizer_folder

from tunesmith.language import Language, tr
from tunesmith.rows.chat.rendered import rendered_as
from tunesmith.rows.chat.turns import Message
from tunesmith.rows.report.preview import preview
from tunesmith.rows.report.validation import validate

QUESTIONS = {
    "ChatML": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "Llama 4": "<|header_start|>user<|header_end|>\n\nq<|eot|><|header_start|>assistant<|header_end|>\n\n",
    "Llama 2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nq [/INST]",
    "Gemma": "<bos><start_of_turn>user\nq<end_of_turn>\n<start_of_turn>model\n",
    "Zephyr": "<|user|>\nq</s>\n<|assistant|>\n",
    "DeepSeek": "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜>",
    "Command R": "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>q<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "Granite": "<|start_of_role|>user<|end_of_role|>q<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>",
    "gpt-oss": "<|start|>user<|message|>q<|end|><|start|>assistant",
    "Alpaca": "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\nq\n\n"
    "### Input:\nx\n\n### Response:\n",
    "Guanaco": "### Human: q### Human: again ### Assistant: ",
    "### User": "### System:\nBe kind.\n\n### User:\nq\n\n### Assistant:\n",
    "### Question": "### Question: q\n### Answer: ",
    "Vicuna": "USER: q ASSISTANT:",
    "Human/Assistant": "\n\nHuman: q\n\nAssistant:",
    "User/Assistant": "User: q\n\nAssistant:",
    "用户/助手": "用户：问题\n助手：",
    "Kimi": "<|im_user|>user<|im_middle|>q<|im_end|><|im_assistant|>",
    "EXAONE": "[|user|]q\n[|assistant|]",
    "Seed-OSS": "<seed:bos>user\nq<seed:eos><seed:bos>assistant\n",
    "Baichuan": "<reserved_106>q<reserved_107>",
    "Apertus": "<|user_start|>q<|user_end|><|assistant_start|>",
    "InternLM": "<|User|>:q\n<|Bot|>:",
    "MOSS": "<|Human|>: q<eoh>\n<|MOSS|>:",
    "MiniCPM": "<用户>q<AI>",
    "OpenChat": "GPT4 Correct User: q<|end_of_turn|>GPT4 Correct Assistant:",
    "Phi-2": "Instruct: q\nOutput:",
    "ChatGLM": "[Round 1]\n\n问：q\n\n答：",
    "### Instruction": "### Instruction:\nq\n\n### Output:\n",
}
SPELLINGS = {
    "### INSTRUCTION:\nq\n\n### RESPONSE:\n": "Alpaca",
    "### Instruction\nq\n\n### Response\n": "Alpaca",
    "### human: q\n### assistant: ": "Guanaco",
}
PROSE = [
    "Templates differ: ChatML begins a turn with `<|im_start|>`, Llama 2 wraps a question in `[INST]`.",
    "The assistant: a person who helps. The user: a person who asks.",
    "HAMLET: To be, or not to be.\nOPHELIA: My lord?",
    "# Report\n\n### Question:\nWhy?\n\nNobody knows.",
    "He told the user: press the key. Then the assistant came.",
    "What does `### Instruction:` mean in front of `### Response:`?",
    "用户：张三。住址：北京。",
    "Q: what is it?\nA: nothing.",
    "# crop(image)\n\n### Input\n\nAn image.\n\n### Output\n\nAnother one.",
    "### Instruction\n\nMove the stack pointer.\n\n### Opcode\n\n0x44",
    "",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer_folder(tmp_path_factory.mktemp("model") / "m")


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_templates_dialogues_are_known(name: str) -> None:
    question = QUESTIONS[name]
    assert rendered_as(question + "an answer.") == name
    assert rendered_as([Message("user", question), Message("assistant", "an answer.")]) == name
    whole = [Message("user", question + "an answer."), Message("assistant", "shorter.")]
    assert rendered_as(whole) is None, "a question about a dialogue is one"


@pytest.mark.parametrize("question", SPELLINGS)
def test_headings_are_known_in_any_case_and_without_a_colon(question: str) -> None:
    assert rendered_as(question + "a") == SPELLINGS[question]
    assert rendered_as([Message("user", question), Message("assistant", "a")]) == SPELLINGS[question]


@pytest.mark.parametrize("text", PROSE)
def test_what_only_speaks_of_them_is_none(text: str) -> None:
    assert rendered_as(text) is None
    assert rendered_as([Message("user", text), Message("assistant", "a")]) is None


def said(tmp_path: Path, model: Path, *rows: dict[str, Any], **how: Any) -> Any:
    path = write(tmp_path, *rows)
    report = validate(path, spec(**how), model=model)
    assert preview(path, spec(**how), model).findings == report.findings
    return found(report).get("rendered_already")


def test_a_report_says_how_many_and_which(tmp_path: Path, model: Path) -> None:
    texts = [{"text": QUESTIONS[name] + "a"} for name in ("Alpaca", "Alpaca", "Vicuna")]
    one = said(tmp_path, model, *texts, {"text": "prose"})
    assert "3 of 4 rows" in one.message
    assert "(Alpaca, Vicuna)" in one.message
    assert "`messages`" in one.hint
    assert one.count == 3
    assert len(one.examples) == 3
    for text in (one.message, one.hint):
        assert "trained" not in tr(text, Language.ZH)


def test_a_question_in_another_templates_marks_is_said(tmp_path: Path, model: Path) -> None:
    rows = [{"prompt": QUESTIONS["Llama 2"], "completion": "a"}, {"prompt": "q", "completion": "a"}]
    assert "another template's marks (Llama 2)" in said(tmp_path, model, *rows).message


def test_a_few_among_many_and_texts_that_are_read_whole_are_not(tmp_path: Path, model: Path) -> None:
    few = [{"text": QUESTIONS["Alpaca"] + "a"}, *[{"text": f"prose {n}"} for n in range(40)]]
    assert said(tmp_path, model, *few) is None
    whole = [{"text": QUESTIONS["Alpaca"] + "a"}] * 3
    assert said(tmp_path, model, *whole, training_type="pretrain") is None

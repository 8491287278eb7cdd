"""The parameters of chats are what the form is asked to offer, and whoever answers takes all that they allow."""

from typing import Any

import pytest

from tunesmith.chat.settings import Sampling
from tunesmith.errors import InvalidInput
from tunesmith.schema import rows
from tunesmith.spec.chat import ChatSettings, ChatSpec

OFFERED: dict[str, tuple[str, str, Any, float, float]] = {
    "temperature": ("Temperature", "温度", 0.7, 0, 2),
    "max_new_tokens": ("Max length", "最大长度", 256, 1, 8192),
    "top_p": ("Top P (nucleus sampling)", "Top P（核采样）", 0.9, 0, 1),
    "top_k": ("Top K", "Top K", 50, 0, 100),
    "repetition_penalty": ("Repetition penalty", "重复惩罚", 1.1, 0, 2),
    "presence_penalty": ("Presence penalty", "存在惩罚", 1.1, 0, 2),
    "min_p": ("Min P", "Min P", 0.0, 0, 1),
    "seed": ("Random seed", "随机种子", 42, 0, 999_999),
}
"""Of the design's table, scope `test`: labels, default and range of the form."""
FOUND = {row.name: row for row in rows(ChatSettings)}


@pytest.mark.parametrize("name", OFFERED)
def test_a_setting_is_declared_as_the_table_says(name: str) -> None:
    row, (english, chinese, default, low, high) = FOUND[name], OFFERED[name]
    about = row.about
    assert (about.label_en, about.label_zh, row.default) == (english, chinese, default)
    least = row.ge if row.ge is not None else row.gt
    assert (about.ui_min if about.ui_min is not None else least) == low
    assert (about.ui_max if about.ui_max is not None else row.le) == high


def test_what_else_there_is_has_its_default() -> None:
    assert {name: row.default for name, row in FOUND.items() if name not in OFFERED} == {
        "frequency_penalty": 0,
        "enable_thinking": False,
        "drop_oldest": False,
        "system_prompt": "",
    }


@pytest.mark.parametrize("name", [name for name, row in FOUND.items() if row.le is not None])
def test_whoever_answers_takes_both_ends(name: str) -> None:
    row = FOUND[name]
    for value in (row.ge, row.le):
        if value is not None:
            given = int(value) if row.type == "integer" else value
            assert getattr(ChatSettings.read({name: given}).sampling(), name) == given
    with pytest.raises(InvalidInput):
        ChatSettings.read({name: (row.le or 0) + 1})


def test_without_any_setting_nothing_is_changed() -> None:
    """What the API's callers leave out is not the form's preset."""
    plain = Sampling()
    assert (plain.top_p, plain.top_k, plain.min_p) == (1, 0, 0)
    assert (plain.repetition_penalty, plain.presence_penalty, plain.frequency_penalty) == (1, 0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "vllm"},
        {"idle_timeout": -1},
        {"max_adapters": 0},
        {"max_running": 65},
        {"context_length": 8},
        {"threads": 0},
        {"task_id": "task-x"},
    ],
)
def test_what_serves_no_model_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ChatSpec.read({"model": "m"} | wrong)

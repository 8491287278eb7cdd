"""The template renders as transformers renders it, and cannot reach out of its sandbox."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import chat_templates as zoo
import pytest
from tiny_model import CHATML, make_tokenizer_folder

from tunesmith.errors import InvalidModel
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat import template as template_module
from tunesmith.rows.chat.template import ChatTemplate

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "  Hi\n<b>ü世</b> "}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\nHo & hum "}],
    [
        {"role": "system", "content": " s "},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ],
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\nt\n</think>\n\na"}] * 2,
]
ODD = (
    "{{ bos_token }}{% for m in messages %}{% if loop.index > 3 %}{% break %}{% endif %}\n"
    "    {% set ns = namespace(n=loop.index) %}\n  {{ m | tojson }}{{ m | tojson(indent=2) }}{{ ns.n }}\n{% endfor %}"
    "{{ dict(a=1)['a'] }}{{ tools is none }}{{ documents is none }}{{ pad_token is defined }}{{ cls_token is defined }}"
)
TEMPLATES = {
    "chatml": CHATML,
    "odd": ODD,
    **{name.lower(): text for name, text in vars(zoo).items() if name.isupper() and isinstance(text, str)},
}


def folder_with(folder: Path, source: str | None) -> Path:
    make_tokenizer_folder(folder, template=source)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config |= {
        "bos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True},
        "eos_token": "<|im_end|>",
    }
    file.write_text(json.dumps(config))
    return folder


def attempt(call: Callable[[], str]) -> str | Exception:
    try:
        return call()
    except Exception as error:
        return error


@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_as_transformers_does(tmp_path: Path, name: str) -> None:
    from transformers import AutoTokenizer

    folder = folder_with(tmp_path, TEMPLATES[name])
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = ChatTemplate.from_folder(folder)
    rendered = 0
    for messages in CONVERSATIONS:
        for prompt in (False, True):
            options = {"tokenize": False, "add_generation_prompt": prompt}
            expected = attempt(partial(theirs.apply_chat_template, messages, **options))
            found = attempt(partial(ours.render, messages, prompt))
            if isinstance(expected, Exception):  # the template's own refusal
                assert isinstance(found, RowProblem)
                assert str(expected) in found.message
            else:
                assert found == expected
                rendered += 1
    assert rendered


def test_sources(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, None)
    with pytest.raises(InvalidModel) as caught:
        ChatTemplate.from_folder(folder)
    assert "chat_template.jinja" in (caught.value.hint or "")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "chat_template": [{"name": "rag", "template": "r"}]}))
    with pytest.raises(InvalidModel, match="`rag`"):
        ChatTemplate.from_folder(folder)
    named = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    file.write_text(json.dumps({**config, "chat_template": named}))
    assert ChatTemplate.from_folder(folder).source == "d"
    file.write_text(json.dumps({**config, "chat_template": "text"}))
    assert ChatTemplate.from_folder(folder).source == "text"
    (folder / "chat_template.jinja").write_text("file")
    assert ChatTemplate.from_folder(folder).source == "file"


def test_sha256_follows_the_text() -> None:
    assert ChatTemplate("a").sha256 == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert ChatTemplate("b").sha256 != ChatTemplate("a").sha256


def test_broken_template_is_the_models_fault() -> None:
    with pytest.raises(InvalidModel, match="line 2"):
        ChatTemplate("\n{% for %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{{ messages.append(1) }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ 10 ** 10 ** 10 ** 10 ** 10 ** 10 ** 10 ** 10 ** 10 }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ messages[0].content }}{% endfor %}{% endfor %}",
        "{{ messages + 1 }}",
        "{{ nothing.at.all }}",
        "{% include 'file' %}",
    ],
)
def test_sandbox_and_failures(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_module, "MAX_OUTPUT_CHARACTERS", 100_000)
    with pytest.raises(RowProblem):
        ChatTemplate(source).render([{"role": "user", "content": "x" * 100}])

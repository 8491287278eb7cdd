"""Everything that is said of rows, by whoever looks at them, is said in Chinese to who reads Chinese."""

import ast
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import user_texts

ROWS = user_texts.ROOT / "platform/tunesmith/rows"
_NO_TEXTS = {"words", "Field", "getLogger", "debug", "info"}
"""What is given to these is shown to no user."""
_NO_MODULES = {"same_ids.py", "builtin_templates.py", "library_ids.py"}
"""These hold texts to try tokenizers with, templates and lists of types."""
_SHOWN_TO_NOBODY = {"probe text", "The library encodes every text: %s."}


def texts_of(node: ast.AST) -> Iterator[str]:
    """The whole texts in a piece of code: what stands in a text's places too."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.Call) and user_texts._name(node) in _NO_TEXTS:
        return
    if isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id.endswith("_WORDS"):
            return
    if found := user_texts.variants(node):
        yield from found
        for part in ast.walk(node):
            if isinstance(part, ast.FormattedValue):
                yield from texts_of(part.value)
        return
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for below in value if isinstance(value, list) else [value]:
                if isinstance(below, ast.AST):
                    yield from texts_of(below)


def test_every_sentence_in_the_code_of_rows_is_translated() -> None:
    looked, left = 0, []
    for file in sorted(ROWS.rglob("*.py")):
        if file.name in _NO_MODULES:
            continue
        for text in texts_of(ast.parse(file.read_text())):
            looked += " " in text
            if text not in _SHOWN_TO_NOBODY and user_texts.english_in(text):
                left.append(f"{file.name}: {text}")
    assert looked > 200
    assert left == []


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def chat(*values: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": value} for who, value in values]}


GOOD = {"instruction": "写一句诗", "input": "", "output": "春眠不觉晓"}
FILES: dict[str, tuple[str, bytes]] = {
    "broken-array": ("a.json", b'[{"a": 1}, ]'),
    "broken-line": ("a.jsonl", lines(GOOD) + b'{"a": 1,,}\n' + lines(GOOD)),
    "no-object": ("a.json", json.dumps([GOOD, [1], "x"]).encode()),
    "no-answer": ("a.json", json.dumps([chat(("human", "q"))]).encode()),
    "no-list": ("a.jsonl", lines({"conversations": "x"}, chat(("human", "q"), ("gpt", 5)))),
    "unknown-role": ("a.jsonl", lines(chat(("human", "q"), ("nobody", "a")))),
    "empty-answer": ("a.jsonl", lines(GOOD | {"output": ""}, GOOD | {"output": None}, GOOD)),
    "bad-answers": ("a.jsonl", lines(*[GOOD | {"label": bool(i % 2)} for i in range(6)])),
    "preferences": ("a.jsonl", lines(*[{"prompt": "q", "chosen": "a", "rejected": "b"}] * 3)),
    "scores": ("a.jsonl", lines(*[GOOD | {"score": i, "input": str(i)} for i in range(6)])),
    "reasoning": ("a.jsonl", lines(*[GOOD | {"reasoning": "想", "id": i} for i in range(6)])),
    "placeholders": ("a.csv", b"instruction,output\nq,nan\nq2,a\nq3,\n"),
    "twice": ("a.csv", b"a,a\n1,2\n"),
    "no-names": ("a.csv", b",\n1,2\n"),
    "fields": ("a.csv", b"instruction,output\nq,a,b\nq,a\n"),
    "utf16": ("a.jsonl", '{"text": "好"}\n'.encode("utf-16")),
    "packed-twice": ("a.jsonl.gz", gzip.compress(gzip.compress(lines(GOOD)))),
    "cut-off": ("a.jsonl.gz", gzip.compress(lines(*[GOOD] * 50))[:60]),
    "no-parquet": ("a.parquet", b"PAR1 nothing"),
    "zip": ("a.jsonl", b"PK\x03\x04 nothing"),
    "empty": ("a.jsonl", b""),
    "unknown-columns": ("a.jsonl", lines(*[{"x": 1, "y": 2}] * 3)),
    "images": ("a.jsonl", lines(*[GOOD | {"image": "a.png"}] * 3)),
    "calls": (
        "a.jsonl",
        lines(chat(("human", "q"), ("function_call", '{"name": "f", "arguments": {}}'), ("gpt", "a"))),
    ),
    "nested": ("a.jsonl", b"[" * 5000 + b"\n"),
    "half-letter": ("a.json", b'[{"text": "\\ud800"}, {"text": Infinity}, {"text": 1, "text": 2}]'),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_a_report_says_of_a_file_is_chinese(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TUNESMITH_LANG", "zh")
    monkeypatch.chdir(tmp_path)
    file, content = FILES[name]
    (tmp_path / file).write_bytes(content)
    said = cli("data", "validate", file)
    shown = [line.partition(" 对话: ")[0] for line in [*said.out.splitlines(), *said.err.splitlines()]]
    shown = [line for line in shown if not line.startswith("    ")]  # where a row's own words stand
    assert shown
    assert [line for line in shown if user_texts.english_in(line)] == []
    assert not re.search(r"\brow \d", said.out + said.err)

"""Texts with `{column}` in them, filled from a row. `{{` and `}}` stand for the braces themselves.

Knows the language; knows nothing of files.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tunesmith.errors import InvalidInput
from tunesmith.row_problem import RowProblem
from tunesmith.spec.problems import did_you_mean

MAX_CHARACTERS = 20_000
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Filling(NamedTuple):
    """A template that was understood."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]
    """The column after each text but the last."""

    def fill(self, row: Mapping[str, Any]) -> str:
        """The text for a row; null leaves nothing, what is no text is written as JSON.

        Raises:
            RowProblem: The row lacks a column.
        """
        found = [self.texts[0]]
        for name, text in zip(self.columns, self.texts[1:], strict=True):
            if name not in row:
                meant = did_you_mean(name, list(row))
                has = ", ".join(f"`{column}`" for column in row)
                raise RowProblem(
                    f"The template names `{{{name}}}`, which the row does not have.",
                    f"Did you mean `{{{meant}}}`?" if meant else f"The row has {has or 'no column'}.",
                )
            value = row[name]
            if value is not None:
                found.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            found.append(text)
        return "".join(found)


def parse_filling(template: str) -> Filling:
    """Understand a template.

    Raises:
        InvalidInput: A brace stands alone, or is empty.
    """
    if len(template) > MAX_CHARACTERS:
        raise InvalidInput(f"A template has at most {MAX_CHARACTERS} characters.")
    texts, columns, at = [""], [], 0
    for match in _PART.finditer(template):
        texts[-1] += template[at : match.start()]
        at = match.end()
        if match[0] in ("{{", "}}"):
            texts[-1] += match[0][0]
        elif match[1] is not None and match[1].strip():
            columns.append(match[1].strip())
            texts.append("")
        else:
            raise InvalidInput(
                f"The template's `{match[0]}` at character {match.start() + 1} names no column.",
                hint="Write `{column}`; a brace itself is written twice: `{{`.",
            )
    texts[-1] += template[at:]
    return Filling(tuple(texts), tuple(columns))

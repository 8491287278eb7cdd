"""`tunesmith parameters`: the reference of every parameter, from its one declaration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.text import Text

from tunesmith.cli.arguments import JsonFlag, LanguageOption
from tunesmith.cli.output import facts, out, show_json, show_table, table
from tunesmith.errors import NotFound
from tunesmith.language import Language, choose, current, tr
from tunesmith.schema import ParameterRow, rows
from tunesmith.spec.dataset import OPERATIONS
from tunesmith.spec.parameter import GROUP_LABELS, Group
from tunesmith.spec.problems import did_you_mean
from tunesmith.spec.training import TrainSpec

_HEADS = {
    Language.EN: (
        "Parameter",
        "Type",
        "Default",
        "Range or choices",
        "Meaning",
        "Also known as",
        "Has an effect when",
    ),
    Language.ZH: ("参数", "类型", "默认值", "范围或可选值", "说明", "别名", "生效条件"),
}
_OPERATIONS = {Language.EN: "Operations on data sets", Language.ZH: "数据操作"}
_TITLES = {Language.EN: "Training parameters", Language.ZH: "训练参数"}
_REQUIRED = {Language.EN: "required", Language.ZH: "必填"}


def group_title(group: Group, lang: Language) -> str:
    """A section's name."""
    return GROUP_LABELS[group][lang is Language.ZH]


def shown(value: Any) -> str:
    """A default as a user would write it; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def accepted(row: ParameterRow) -> str:
    """The range or the choices of a parameter, with its unit."""
    return " ".join(
        part for part in (", ".join(row.choices or []) or row.bounds, row.about.unit or "") if part
    )


def default_of(row: ParameterRow, lang: Language) -> str:
    """A parameter's default, what it is under which other parameters, or that it is required."""
    if row.required:
        return _REQUIRED[lang]
    rules = [f"{shown(rule.value)} ({' and '.join(map(str, rule.when))})" for rule in row.about.default_when]
    return "; ".join([shown(row.default), *rules])


def help_of(row: ParameterRow, lang: Language) -> str:
    """What a parameter does."""
    return row.about.help_zh if lang is Language.ZH else row.about.help_en


def details_of(row: ParameterRow, lang: Language) -> list[str]:
    """What each of its choices does, and which values suit which situation, as far as somebody has written it."""
    choices = [f"`{choice}`: {getattr(words, lang)}" for choice, words in row.about.choice_help.items()]
    return [*choices, *(getattr(words, lang) for words in row.about.advice)]


def label_of(row: ParameterRow, lang: Language) -> str:
    """What a parameter is called in the form."""
    return row.about.label_zh if lang is Language.ZH else row.about.label_en


def conditions(row: ParameterRow) -> str:
    """Under which other parameters it has an effect."""
    return ", ".join(map(str, row.about.visible_when))


def markdown(lang: Language) -> str:
    """The whole reference as a Markdown page."""
    lines = [f"# {_TITLES[lang]}", ""]
    for group in Group:
        found = [row for row in rows(TrainSpec) if row.about.group is group]
        if found:
            lines += [f"## {group_title(group, lang)}", "", *_grid(found, lang), ""]
    return "\n".join(lines)


def operations_markdown(lang: Language) -> str:
    """The reference of the operations on data sets as a Markdown page."""
    lines = [f"# {_OPERATIONS[lang]}", ""]
    for name, spec in OPERATIONS.items():
        about = (spec.__doc__ or "").strip().splitlines()[0]
        lines += [
            f"## `{name}`",
            "",
            *([about, ""] if lang is Language.EN else []),
            *_grid(rows(spec), lang),
            "",
        ]
    return "\n".join(lines)


def _grid(found: Iterable[ParameterRow], lang: Language) -> list[str]:
    heads = _HEADS[lang]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found:
        meaning = " ".join([f"**{label_of(row, lang)}.**", help_of(row, lang), *details_of(row, lang)])
        cells = (
            f"`{row.name}`",
            row.type,
            _code(default_of(row, lang)) if not row.required else _REQUIRED[lang],
            accepted(row),
            meaning,
            ", ".join(f"`{alias}`" for alias in row.about.aliases),
            _code(conditions(row)),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _find(name: str) -> ParameterRow:
    wanted = name.lstrip("-").replace("-", "_")
    spellings = {row.name: row for row in rows(TrainSpec)}
    spellings |= {alias: row for row in rows(TrainSpec) for alias in row.about.aliases}
    if wanted not in spellings:
        meant = did_you_mean(wanted, list(spellings))
        hint = (
            f"Did you mean `{spellings[meant].name}`?" if meant else "`tunesmith parameters` lists them all."
        )
        raise NotFound(f"There is no parameter `{name}`.", hint=hint)
    return spellings[wanted]


def _every_name() -> list[str]:
    return [row.name for row in rows(TrainSpec)]


def parameters(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only this one, in full.", autocompletion=_every_name),
    ] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page.")] = False,
) -> None:
    """Explain the parameters of a training task."""
    choose(lang)
    found = [_find(name)] if name else rows(TrainSpec)
    if as_json:
        show_json(found[0] if name else found)
    elif as_markdown:
        out().print(markdown(current()), soft_wrap=True)
    elif name:
        _show_one(found[0], current())
    else:
        _show_all(found, current())


def _show_one(row: ParameterRow, lang: Language) -> None:
    console = out()
    console.print(Text(row.name, style="bold") + Text(f"  {label_of(row, lang)}"))
    console.print(help_of(row, lang))
    for detail in details_of(row, lang):
        console.print(f"  {detail}")
    console.print()
    console.print(
        facts(
            [
                ("flag", "--" + row.name.replace("_", "-")),
                ("type", row.type),
                ("default", default_of(row, lang)),
                ("accepts", accepted(row)),
                ("also known as", ", ".join(row.about.aliases)),
                ("has an effect when", conditions(row)),
            ]
        )
    )


def _show_all(found: list[ParameterRow], lang: Language) -> None:
    console = out()
    names = max(len(row.name) for row in found)
    for group in Group:
        members = [row for row in found if row.about.group is group]
        if not members:
            continue
        console.print(Text(group_title(group, lang), style="bold"))
        grid = table("", "", "")
        grid.show_header = False
        grid.columns[0].min_width = names
        grid.columns[1].overflow, grid.columns[1].max_width = "ellipsis", 16
        grid.columns[2].no_wrap, grid.columns[2].overflow = False, "fold"
        for row in members:
            grid.add_row(
                row.name,
                Text(_REQUIRED[lang] if row.required else shown(row.default), style="dim"),
                help_of(row, lang),
            )
        show_table(grid, console)
        console.print()
    console.print(tr("`tunesmith parameters NAME` says more of one."), style="dim")


def add_to(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command("parameters")(parameters)

"""How a command reads its arguments and shows its help, whichever library made it.

Help comes in the user's language. On a terminal it is fitted into panels; anywhere else each thing is one line, neither
wrapped nor cut, so that it can be searched. No option is given twice: the parser would keep the last and say nothing.
"""

import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer

from tunesmith.language import Language, current, tr

_WORDS = {
    "ARGUMENTS_PANEL_TITLE": "Arguments",
    "OPTIONS_PANEL_TITLE": "Options",
    "COMMANDS_PANEL_TITLE": "Commands",
    "DEFAULT_STRING": "[default: {}]",
    "ENVVAR_STRING": "[env var: {}]",
    "REQUIRED_LONG_STRING": "[required]",
}
"""What the library itself says in a help text."""


def prepare(command: Any) -> Any:
    """A command, and those below it, that refuses repeats and shows its help as it should be.

    Args:
        command: As `typer.main.get_command` makes it. It is changed.
    """
    for inner in getattr(command, "commands", {}).values():
        prepare(inner)
    _refuse_repeats(command)
    command.help = translated(command.help)
    for parameter in command.params:
        _translate(parameter)
    shown_by_library = command.format_help

    def format_help(ctx: Any, formatter: Any) -> None:
        for parameter in command.get_params(ctx):  # `--help` itself is only there now
            _translate(parameter)
        if sys.stdout.isatty():
            _speak()
            shown_by_library(ctx, formatter)
        else:
            formatter.write("".join(f"{line}\n" for line in plain_help(command, ctx)))

    usage = command.get_usage
    command.get_usage = lambda ctx: usage(ctx).replace("Usage:", tr("Usage:"), 1)
    command.format_help = format_help
    return command


def translated(text: str | None) -> str | None:
    """A help text in the user's language, paragraph by paragraph."""
    if not text or current() is Language.EN:
        return text
    return "\n\n".join(tr(" ".join(part.split())) for part in text.split("\n\n"))


def _translate(parameter: Any) -> None:
    parameter.help = translated(getattr(parameter, "help", None))
    if panel := getattr(parameter, "rich_help_panel", None):
        parameter.rich_help_panel = tr(panel)


def _speak() -> None:
    """Let the library's own words be in the user's language."""
    from typer import rich_utils

    for name, said in _WORDS.items():
        setattr(rich_utils, name, tr(said))
    _make_rich_text(rich_utils)  # as it is before it is replaced
    rich_utils._make_rich_text = _folded


def _folded(**given: Any) -> Any:
    """A help text that goes on in the next line where it has no spaces, as Chinese has none: it would be cut."""
    from typer import rich_utils

    made = _make_rich_text(rich_utils)(**given)
    if hasattr(made, "overflow"):
        made.overflow = "fold"
    return made


@functools.cache
def _make_rich_text(rich_utils: Any) -> Any:
    return rich_utils._make_rich_text


def plain_help(command: Any, ctx: Any) -> Iterator[str]:
    """A command's help, each thing on a line of its own however long it is."""
    yield f"{tr('Usage:')} {ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}".rstrip()
    for part in (command.help or "").split("\n\n"):
        yield ""
        yield _bare(part)
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in sorted(command.get_params(ctx), key=lambda item: item.param_type_name != "argument"):
        record = parameter.get_help_record(ctx)
        if record is not None and not getattr(parameter, "hidden", False):
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panels.setdefault(parameter.rich_help_panel or tr(kind), []).append(_record(record))
    for name in command.list_commands(ctx) if hasattr(command, "list_commands") else ():
        inner = command.get_command(ctx, name)
        if not inner.hidden:
            panels.setdefault(tr("Commands"), []).append((name, (inner.help or "").split("\n\n")[0]))
    for title, records in panels.items():
        yield ""
        yield f"{title}:"
        yield from _columns(records)


def _record(record: tuple[str, str]) -> tuple[str, str]:
    """A parameter's name and help, the library's own words in the user's language."""
    name, said = record
    if current() is Language.ZH and said.endswith("]"):
        text, sign, facts = said.rpartition("[")
        said = f"{text}{sign}{'; '.join(tr(fact) for fact in facts[:-1].split('; '))}]"
    return name, said


def _columns(records: Sequence[tuple[str, str]]) -> Iterable[str]:
    width = max(len(name) for name, _ in records)
    return (f"  {name:<{width}}  {_bare(said)}".rstrip() for name, said in records)


def _bare(text: str) -> str:
    """A text on one line, without the marks that a terminal's markup needs."""
    return " ".join(text.split()).replace("\\[", "[")


def _refuse_repeats(command: Any) -> None:
    make = command.make_parser

    def made(ctx: Any) -> Any:
        parser = make(ctx)
        parse = parser.parse_args

        def parsed(args: list[str]) -> Any:
            found = parse(args)
            _check(found[2], ctx)
            return found

        parser.parse_args = parsed
        return parser

    command.make_parser = made


def _check(given: Sequence[Any], ctx: Any) -> None:
    seen: set[int] = set()
    for option in given:
        if option.param_type_name != "option" or option.multiple or option.is_flag or option.count:
            continue
        if id(option) in seen and not ctx.resilient_parsing:
            raise typer.BadParameter(f"`{option.opts[0]}` is given twice.", ctx=ctx)
        seen.add(id(option))

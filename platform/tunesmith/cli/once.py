"""No option of a command is given twice: the parser would keep the last one and say nothing."""

from collections.abc import Sequence
from typing import Any

import typer


def refuse_repeats(command: Any) -> None:
    """Let a command and those below it refuse an option that is given twice; switches and lists may be.

    Args:
        command: As `typer.main.get_command` makes it. It is changed.
    """
    for inner in getattr(command, "commands", {}).values():
        refuse_repeats(inner)
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

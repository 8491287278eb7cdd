"""`tunesmith chats conversations ...`: what is kept of conversations and of ratings. The chat itself is `chat`'s."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.arguments import ForceFlag, JsonFlag, LanguageOption, YesFlag, connect
from tunesmith.cli.format import plain
from tunesmith.cli.output import ask, out, say, show_json, show_table, table
from tunesmith.cli.talking import write_new
from tunesmith.errors import InvalidInput, NotFound
from tunesmith.language import choose, tr

if TYPE_CHECKING:
    from tunesmith.client import Client

_LAST = "last"
_SHOWN_LETTERS = 60
ConversationArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The conversation's id, or `last` for the one written to last.")
]
RowsOption = Annotated[
    str,
    typer.Option(
        help="`answers`: good and corrected ones, to train on. `pairs`: a chosen and a rejected one."
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Answers of this model alone, by its whole name.")
]
SaveOption = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Write to a file instead of showing it.")
]


def conversation_id(client: Client, given: str) -> str:
    """The id of a conversation that is given by it, or as `last`.

    Raises:
        NotFound: There is none yet.
    """
    if given != _LAST:
        return given
    found = client.conversations.last()
    if found is None:
        raise NotFound("No conversation is kept yet.", hint="`tunesmith chat` begins one.")
    return found.id


def conversations(
    search: Annotated[str, typer.Option(help="Those whose title holds these words.")] = "",
    expiring: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS", min=0, help="Those that are deleted within so many days unless they go on."
        ),
    ] = None,
    first: Annotated[int, typer.Option(min=1, help="Show so many.")] = 50,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List your conversations, the one written to last first. Nobody else sees them."""
    choose(lang)
    with connect() as client:
        listed = client.conversations.list(search, expiring)
        found = [one for _, one in zip(range(first), listed, strict=False)]
    if as_json:
        show_json(found)
        return
    if not found:
        say("There are none." if search or expiring is not None else "No conversation is kept yet.")
        return
    shown = table("id", "title", "turns", "model", "written to", "kept until", numbers=("turns",))
    for one in found:
        until = one.expires_at.strftime("%Y-%m-%d") if one.expires_at else ""
        moment = one.updated_at.strftime("%Y-%m-%d %H:%M")
        shown.add_row(one.id, _beginning(one.title), str(one.turns), plain(one.model or ""), moment, until)
    show_table(shown)


def show(
    conversation: ConversationArgument,
    every: Annotated[bool, typer.Option("--all", help="Turns of other branches too.")] = False,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what is said in a conversation, each turn with its number."""
    choose(lang)
    with connect() as client:
        found = client.conversations.show(conversation_id(client, conversation), every=every)
    if as_json:
        show_json(found)
        return
    say(f"Conversation `{found.id}`: {plain(found.title)}")
    for turn in found.said:
        out().print(f"{turn.number}> {plain(turn.content)}", soft_wrap=True)
        for answer in turn.answers:
            marks = [answer.model, *([tr(answer.rating)] if answer.rating else [])]
            marks += [tr("cut")] if answer.state == "cut" else []
            out().print(f"  [{plain(', '.join(marks))}] {plain(answer.text)}", soft_wrap=True)
            if answer.corrected:
                out().print(f"  [{tr('corrected')}] {plain(answer.corrected)}", soft_wrap=True)


def export(
    conversation: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The conversation's id, or `last`; with `--all` none."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of your conversations.")] = False,
    save: SaveOption = None,
    force: ForceFlag = False,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Export a conversation as a row that training reads (`messages`); with `--json` all that is kept of it."""
    choose(lang)
    if (conversation is None) != every:
        raise InvalidInput(
            "One conversation is exported, or all.", hint="As in `tunesmith chats export last`, or `--all`."
        )
    form: Any = "json" if as_json else "jsonl"
    with connect() as client:
        if conversation is not None:
            text = client.conversations.export(conversation_id(client, conversation), form)
        else:
            text = b"".join(client.conversations.export_all(form)).decode()
    _give(text, save, force)


def rename(
    conversation: ConversationArgument,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What it is called from now on.")],
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Rename a conversation."""
    choose(lang)
    with connect() as client:
        found = client.conversations.change(conversation_id(client, conversation), title=title)
    if as_json:
        show_json(found)
    else:
        say(f"Renamed `{found.id}`.")


def delete(
    conversation: ConversationArgument,
    yes: YesFlag = False,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Delete a conversation with all that was said and rated in it. Data sets that were made of it stay."""
    choose(lang)
    with connect() as client:
        found = client.conversations.show(conversation_id(client, conversation))
        if not yes and not ask(f"Delete `{found.title or found.id}`, with what was said and rated in it?"):
            raise typer.Exit(1)
        client.conversations.delete(found.id)
    if as_json:
        show_json({"deleted": found.id})
    else:
        say(f"Deleted `{found.id}`.")


def rate(
    conversation: ConversationArgument,
    rating: Annotated[
        str | None,
        typer.Argument(metavar="[better|worse]", help="What you think of the answer; none takes it back."),
    ] = None,
    *,
    turn: Annotated[
        int | None, typer.Option(min=1, help="The turn's number; the last when left out.")
    ] = None,
    answer: Annotated[
        int | None,
        typer.Option(min=1, max=16, help="Which of several answers, from 1; the one gone on with."),
    ] = None,
    correct: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the answer should have been.")
    ] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Rate an answer of a conversation: better, worse, or what it should have been."""
    choose(lang)
    if rating not in (None, "better", "worse"):
        raise InvalidInput(
            "An answer is rated `better` or `worse`.", hint="As in `tunesmith chats rate last better`."
        )
    with connect() as client:
        found = client.conversations.show(conversation_id(client, conversation), every=turn is not None)
        wanted = next((one for one in reversed(found.said) if turn in (None, one.number)), None)
        if wanted is None:
            raise InvalidInput(
                "There is no such turn.", hint=f"`tunesmith chats show {found.id}` numbers them."
            )
        place = wanted.chosen if answer is None else answer - 1
        word: Any = rating
        shown = client.conversations.rate(found.id, wanted.number, place, rating=word, corrected=correct)
    if as_json:
        show_json(shown)
    else:
        say("Rated. `tunesmith chats ratings` shows all ratings.")


def ratings(
    rows: RowsOption = "answers",
    model: ModelOption = None,
    save: SaveOption = None,
    force: ForceFlag = False,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the answers that you rated; with `--save` write rows to a file: good answers, or pairs."""
    choose(lang)
    with connect() as client:
        if save is not None:
            _give(client.conversations.rows(_rows(rows), model), save, force)
            return
        found = [one for one in client.conversations.ratings() if model in (None, one.model)]
    if as_json:
        show_json(found)
        return
    if not found:
        say("Nothing was rated yet: `/rate better` and `/correct TEXT` in `tunesmith chat` do.")
        return
    shown = table("conversation", "turn", "model", "rating", "question", "answer", numbers=("turn",))
    for one in found:
        rating = tr(one.rating) if one.rating else tr("corrected")
        answer = one.corrected or one.text
        shown.add_row(
            one.conversation,
            str(one.turn),
            plain(one.model),
            rating,
            _beginning(one.question),
            _beginning(answer),
        )
    show_table(shown)


def dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set; made where there is none.")],
    rows: RowsOption = "answers",
    model: ModelOption = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make your ratings the next version of a data set, to train on: `tunesmith train --train-file NAME`."""
    choose(lang)
    with connect() as client:
        made = client.conversations.make_dataset(name, _rows(rows), model)
    if as_json:
        show_json(made)
        return
    say(f"`{made.version}`. Rows: {made.rows}.")
    if made.left_out:
        say(f"Good answers that are not whole, and are left out: {made.left_out}.")


def _rows(given: str) -> Any:
    if given not in ("answers", "pairs"):
        raise InvalidInput(f"There are no rows `{given}`.", hint="`answers` or `pairs`.", field="--rows")
    return given


def _give(text: str, save: Path | None, force: bool) -> None:
    if save is None:
        sys.stdout.write(text if not text or text.endswith("\n") else f"{text}\n")
    else:
        write_new(save.expanduser(), text, force=force)


def _beginning(text: str) -> str:
    line = plain(" ".join(text.split()))
    return line if len(line) <= _SHOWN_LETTERS else f"{line[: _SHOWN_LETTERS - 3]}..."


def add_to(chats: typer.Typer) -> None:
    """Add the commands to the group of chats."""
    for command in (conversations, show, export, rename, delete, rate, ratings, dataset):
        chats.command()(command)

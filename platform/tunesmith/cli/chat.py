"""`tunesmith chat [MODEL]`: talk to a model in the terminal, or have one question answered; and what is served.

The settings are the form's. Data (answers) goes to stdout, all else to stderr.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.chat.proof import ProofState
from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, LanguageOption, connect, pairs
from tunesmith.cli.format import plain
from tunesmith.cli.keeping import Kept, Unkept
from tunesmith.cli.output import facts, out, say, show_json, show_table, table
from tunesmith.cli.talking import Talk, shown_name
from tunesmith.errors import InvalidInput
from tunesmith.language import choose, current, tr

if TYPE_CHECKING:
    from tunesmith.chat.views import NamedModel
    from tunesmith.client import Client


def chat(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="`NAME`, `TASK`, `TASK:40`, `TASK:latest`; the newest training's if not given.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Answer this and leave. From a pipe it is read.")
    ] = None,
    *,
    system: Annotated[str | None, typer.Option(help="Say this before the conversation.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="A setting: `temperature=0`, `seed=1`, ..."),
    ] = None,
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--no-keep",
            help="Whether the conversation is kept on the server. By default a talk is, and one question is not.",
        ),
    ] = None,
    going_on: Annotated[
        str | None,
        typer.Option(
            "--continue", "-c", metavar="ID", help="Go on with a conversation that is kept, or with `last`."
        ),
    ] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Talk to a model: a base model, a training's, or any of its checkpoints, also while it trains.

    The first question to a base model starts it, which takes some seconds; it leaves the memory when nobody asks.
    """
    choose(lang)
    given = pairs(settings) | ({"system_prompt": system} if system is not None else {})
    if going_on is not None and keep is False:
        raise InvalidInput("What goes on is kept already.", hint="Leave `--no-keep` out.", field="--no-keep")
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is None and as_json:
        raise InvalidInput(
            "`--json` needs one question.", hint="Give `--prompt`, or pipe it in.", field="--json"
        )
    if prompt is not None and not prompt.strip():
        raise InvalidInput("The question is empty.", hint="Write it behind `-p`.", field="--prompt")
    with connect() as client:
        talking = _begun(client, model, given, going_on, keep if keep is not None else prompt is None)
        if prompt is None:
            talking.go_on()
            return
        reply = talking.answer(prompt, is_shown=not as_json)
    if as_json:
        show_json(reply)


def _begun(
    client: Client, model: str | None, given: dict[str, Any], going_on: str | None, is_kept: bool
) -> Talk:
    """A talk that is new, or that goes on.

    Args:
        client: Asks.
        model: Who is talked to, where that was said.
        given: Settings that were given.
        going_on: The conversation that goes on.
        is_kept: Whether a new one is kept.
    """
    from tunesmith.cli.conversations import conversation_id
    from tunesmith.spec.chat import ChatSettings

    if going_on is None:
        named = client.chats.named(model) if model is not None else client.chats.newest()
        if model is None or named.why:
            say(f"Talking to {shown_name(named)}.")
        return Talk(client, named, ChatSettings.read(given), Kept(client) if is_kept else Unkept(client))
    kept = client.conversations.show(conversation_id(client, going_on))
    answered = [turn.answers[turn.chosen].model for turn in kept.said if turn.chosen < len(turn.answers)]
    wanted = model or (answered[-1] if answered and answered[-1] else kept.model)
    named = client.chats.named(wanted) if wanted else client.chats.newest()
    say(
        f"Going on with `{plain(kept.title) or kept.id}`. Turns: {len(kept.said)}. Talking to {shown_name(named)}."
    )
    settings = ChatSettings.read(ChatSettings.merged(ChatSettings.stored(kept.settings).model_dump(), given))
    return Talk(client, named, settings, Kept(client, kept.id))


chats = typer.Typer(
    name="chats",
    help="Models that can be talked to, what is served, and the conversations that are kept.",
    no_args_is_help=True,
)
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="`NAME`, `TASK`, `TASK:40`, `TASK:latest`.", autocompletion=completion.tasks
    ),
]


@chats.command("names")
def list_names(lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """List every name that can be talked to; behind a tab, whether what answers was proven to be the model."""
    choose(lang)
    with connect() as client:
        found = client.chats.listed()
    if as_json:
        show_json([one.name for one in found])
        return
    for one in found:
        known = "" if one.proof is ProofState.PENDING else f"\t{_proof(one.proof)}"
        sys.stdout.write(f"{plain(one.name)}{known}\n")


@chats.command("list")
def list_served(lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """List the base models that are served or were, with what is loaded and how fast they answer."""
    choose(lang)
    with connect() as client:
        found = client.chats.served()
        proofs = {one.name: one.proof for one in client.chats.listed()} if found and not as_json else {}
    if as_json:
        show_json(found)
        return
    if not found:
        say("Nothing is served: `tunesmith chat` begins it.")
        return
    shown = table("base", "state", "task", "loaded", "running", "tokens/s")
    for one in found:
        status = one.status
        names = [model.name for model in status.loaded] if status else list(one.loaded)
        loaded = ", ".join(f"{name} ({_proof(proofs.get(name, ProofState.PENDING))})" for name in names)
        shown.add_row(
            plain(one.name),
            tr(one.state),
            one.task_id or "",
            plain(loaded),
            str(status.running) if status else "",
            f"{status.tokens_per_second:.1f}" if status else "",
        )
    show_table(shown)


@chats.command("load")
def load(model: ModelArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Have a model loaded, so that the first question need not wait."""
    _verb("load", model, lang, as_json)


@chats.command("unload")
def unload(model: ModelArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Let an adapter leave the memory. A base model is stopped with its task: `tunesmith stop`."""
    _verb("unload", model, lang, as_json)


@chats.command("pin")
def pin(model: ModelArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Keep an adapter loaded, whatever else is asked for."""
    _verb("pin", model, lang, as_json)


@chats.command("unpin")
def unpin(model: ModelArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Let an adapter go again."""
    _verb("unpin", model, lang, as_json)


@chats.command("proof")
def proof(model: ModelArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Show what a name stands for now, and whether what answers is proven to be the model."""
    choose(lang)
    with connect() as client:
        named = client.chats.named(model)
    if as_json:
        show_json(named)
    else:
        _show(named)


@chats.command("prove")
def prove(model: ModelArgument, lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """Have it looked at anew whether what answers is the model; a withdrawn name stays so until it is proven."""
    _verb("prove", model, lang, as_json)


def _proof(state: ProofState) -> str:
    return tr(state.value.replace("_", " "))


def _show(named: NamedModel) -> None:
    found = named.proof
    words = found.words.get(current(), found.words.get("en", ""))
    said = [
        ("model", shown_name(named)),
        ("base", named.base),
        ("served by", named.served_by or ""),
        ("proof", _proof(found.state)),
        ("engine", f"{found.engine} {found.file_type}".strip()),
        ("", words),
    ]
    out().print(facts((name, plain(value)) for name, value in said if value))


def _verb(verb: str, model: str, lang: Any, as_json: bool) -> None:
    choose(lang)
    with connect() as client:
        named: NamedModel = getattr(client.chats, verb)(model)
    if as_json:
        show_json(named)
    else:
        say(f"Done: {shown_name(named)}.")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    from tunesmith.cli import conversations

    conversations.add_to(chats)
    app.command("chat")(chat)
    app.add_typer(chats)

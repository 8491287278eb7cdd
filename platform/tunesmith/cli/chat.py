"""`tunesmith chat [MODEL]`: talk to a model in the terminal, or have one question answered.

Talks like any of OpenAI's clients; the settings are the form's. Data (answers) goes to stdout, all else to stderr.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli import completion
from tunesmith.cli.arguments import JsonFlag, LanguageOption, connect, pairs
from tunesmith.cli.format import plain
from tunesmith.cli.output import facts, out, say, show_error, show_json, show_table, table, talk, warn
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.language import choose, tr

if TYPE_CHECKING:
    from tunesmith.chat.views import ChatReply, NamedModel
    from tunesmith.client import Client

_HELP = (
    "/model NAME        talk to another model",
    "/system TEXT       say this before the conversation; alone: say nothing",
    "/set NAME VALUE    change a setting; alone: show them all",
    "/compare A B       let two models answer the last question, with the same seed",
    "/reset             begin a new conversation",
    "/quit              leave",
)


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
    system: Annotated[str | None, typer.Option(help="Say this before the conversation.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="NAME=VALUE", help="A setting: `temperature=0`, `seed=1`, ..."),
    ] = None,
    lang: LanguageOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Talk to a model: a base model, a training's, or any of its checkpoints, also while it trains.

    The first question to a base model starts it, which takes some seconds; it leaves the memory when nobody asks.
    """
    from tunesmith.spec.chat import ChatSettings

    choose(lang)
    drawn = ChatSettings.read(pairs(settings) | ({"system_prompt": system} if system is not None else {}))
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is None and as_json:
        raise InvalidInput(
            "`--json` needs one question.", hint="Give `--prompt`, or pipe it in.", field="--json"
        )
    if prompt is not None and not prompt.strip():
        raise InvalidInput("The question is empty.", hint="Write it behind `-p`.", field="--prompt")
    with connect() as client:
        named = client.chats.named(model) if model is not None else client.chats.newest()
        talking = _Talk(client, named, drawn)
        if model is None or named.why:
            say(f"Talking to {_shown(named)}.")
        if prompt is None:
            talking.go_on()
            return
        reply = talking.answer(prompt, is_shown=not as_json)
    if as_json:
        show_json(reply)


def _shown(named: NamedModel) -> str:
    return f"`{named.model}` ({tr(named.why)})" if named.why else f"`{named.model}`"


class _Talk:
    """A conversation in the terminal.

    Args:
        client: Asks.
        named: The model that is talked to.
        settings: How answers are drawn.
    """

    def __init__(self, client: Client, named: NamedModel, settings: Any) -> None:
        self._client, self._named, self._settings = client, named, settings
        self._turns: list[dict[str, str]] = []

    def go_on(self) -> None:
        """Ask and answer until the user leaves."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (lines can be edited, and the ones before come back)
        say(
            "Write, and press Enter. `/help` shows the commands; Ctrl-C ends an answer, Ctrl-D the conversation."
        )
        while True:
            try:
                line = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                sys.stdout.write("\n")
                return
            if line in ("/quit", "/exit"):
                return
            if not line:
                continue
            try:
                self._do(line) if line.startswith("/") else self.answer(line)
            except TunesmithError as error:
                show_error(error)
            except KeyboardInterrupt:
                warn("The answer was ended.")

    def answer(self, question: str, *, is_shown: bool = True) -> ChatReply:
        """Answer a question as the conversation's next turn; one that fails leaves it as it was."""
        turns = [*self._turns, {"role": "user", "content": question}]
        reply = self._ask(self._named.model, turns, is_shown=is_shown)
        self._turns = [*turns, {"role": "assistant", "content": reply.text}]
        if reply.finish_reason == "length":
            say("The answer is longer than allowed: `/set max_new_tokens` allows more.")
        return reply

    def _ask(self, model: str, turns: list[dict[str, str]], *, is_shown: bool = True) -> ChatReply:
        parts = self._client.chats.stream(model, turns, **self._settings.model_dump())
        with contextlib.closing(parts), _progress() as tell:
            while True:
                try:
                    part = next(parts)
                except StopIteration as end:
                    if is_shown:
                        sys.stdout.write("\n")
                    reply: ChatReply = end.value
                    return reply
                tell(part.words)
                if is_shown and part.thought:
                    talk().print(plain(part.thought), style="dim", end="")
                if is_shown and part.text:
                    sys.stdout.write(plain(part.text))
                    sys.stdout.flush()

    # --- commands

    def _do(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        match command:
            case "/model":
                self._named = self._client.chats.named(rest)
                say(f"Talking to {_shown(self._named)}.")
            case "/system":
                self._settings = self._with(system_prompt=rest)
            case "/set":
                self._set(rest)
            case "/compare":
                self._compare(rest.split())
            case "/reset":
                self._turns = []
                say("A new conversation.")
            case "/help":
                for words in _HELP:
                    talk().print(tr(words), soft_wrap=True)
            case _:
                raise InvalidInput(f"There is no command `{command}`.", hint="`/help` shows them.")

    def _set(self, rest: str) -> None:
        if not rest:
            values = self._settings.model_dump()
            talk().print(facts((name, str(value)) for name, value in values.items()))
            return
        name, _, value = rest.replace("=", " ", 1).partition(" ")
        self._settings = self._with(**pairs([f"{name}={value.strip()}"], "/set", "seed=1"))

    def _with(self, **changes: Any) -> Any:
        kind = type(self._settings)
        return kind.read(kind.merged(self._settings.model_dump(), changes))

    def _compare(self, names: list[str]) -> None:
        """Let models answer the last question.

        Raises:
            InvalidInput: Not two are named, they are the same weights, or nothing was asked.
        """
        asked = [place for place, turn in enumerate(self._turns) if turn["role"] == "user"]
        if len(names) != 2 or not asked:
            raise InvalidInput(
                "Two models answer the last question.",
                hint="Ask something first; then as in `/compare sft:20 sft:40`.",
            )
        named = [self._client.chats.named(name) for name in names]
        if named[0].weights == named[1].weights:
            raise InvalidInput(
                f"`{names[0]}` and `{names[1]}` are the same weights.", hint="Name another checkpoint."
            )
        for one in named:
            out().print(f"--- {one.model}")
            self._ask(one.model, self._turns[: asked[-1] + 1])


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """Shows what is said while nothing comes; once anything does, it shows nothing any more."""
    console = talk()
    if not console.is_terminal:
        told: set[str] = set()

        def tell_once(words: str) -> None:
            if words and words not in told and words != "ping":
                told.add(words)
                say(words)

        yield tell_once
        return
    status = console.status(tr("Waiting for the model."))
    status.start()

    def tell(words: str) -> None:
        if not words:
            status.stop()
        elif words != "ping":
            status.update(plain(tr(words)))

    try:
        yield tell
    finally:
        status.stop()


chats = typer.Typer(
    name="chats",
    help="Models that can be talked to: names, what is served, load, unload, pin.",
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
    """List every name that can be talked to."""
    choose(lang)
    with connect() as client:
        found = client.chats.names()
    if as_json:
        show_json(found)
        return
    for name in found:
        out().print(plain(name), soft_wrap=True)


@chats.command("list")
def list_served(lang: LanguageOption = None, as_json: JsonFlag = False) -> None:
    """List the base models that are served or were, with what is loaded and how fast they answer."""
    choose(lang)
    with connect() as client:
        found = client.chats.served()
    if as_json:
        show_json(found)
        return
    if not found:
        say("Nothing is served: `tunesmith chat` begins it.")
        return
    shown = table("base", "state", "task", "loaded", "running", "tokens/s")
    for one in found:
        status = one.status
        loaded = ", ".join(model.name for model in status.loaded) if status else ", ".join(one.loaded)
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


def _verb(verb: str, model: str, lang: Any, as_json: bool) -> None:
    choose(lang)
    with connect() as client:
        named: NamedModel = getattr(client.chats, verb)(model)
    if as_json:
        show_json(named)
    else:
        say(f"Done: {_shown(named)}.")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("chat")(chat)
    app.add_typer(chats)

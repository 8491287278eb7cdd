"""A conversation in the terminal: what is typed is asked, or is a command.

Knows what is shown; where it is kept is `keeping`'s.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli.format import plain
from tunesmith.cli.keeping import Keeping, Kept, Parts, Unkept
from tunesmith.cli.output import ask, facts, out, say, show_error, talk, warn
from tunesmith.errors import InvalidInput, TunesmithError
from tunesmith.language import tr

if TYPE_CHECKING:
    from tunesmith.chat.views import ChatReply, NamedModel
    from tunesmith.client import Client

_HELP = (
    "/model NAME          talk to another model",
    "/system TEXT         say this before the conversation; alone: say nothing",
    "/set NAME VALUE      change a setting; alone: show them all",
    "/again               have the last question answered once more",
    "/compare A B [C D]   let two to four models answer the last question, with the same seed",
    "/rate better|worse   rate the last answer; `/rate better 2`: the second of several",
    "/correct TEXT        say what the last answer should have been",
    "/title TEXT          name the conversation",
    "/save [FILE]         keep it on the server; with a file: write it there, as rows that training reads",
    "/reset               begin a new conversation",
    "/quit                leave",
)
_FULL = "context_length_exceeded"


class Talk:
    """A conversation in the terminal.

    Args:
        client: Asks.
        named: The model that is talked to.
        settings: How answers are drawn.
        keeping: What was said, and who keeps it.
    """

    def __init__(self, client: Client, named: NamedModel, settings: Any, keeping: Keeping) -> None:
        self._client, self._named, self._settings = client, named, settings
        self._keeping = keeping
        self._has_offered = False

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
                break
            if line in ("/quit", "/exit"):
                break
            if not line:
                continue
            try:
                self._do(line) if line.startswith("/") else self._answer_or_offer(line)
            except TunesmithError as error:
                show_error(error)
            except KeyboardInterrupt:
                warn("The answer was ended.")
        if self._keeping.id is not None:
            say(f"The conversation is kept: `tunesmith chat --continue {self._keeping.id}`.")

    def answer(self, question: str, *, is_shown: bool = True) -> ChatReply:
        """Answer a question as the conversation's next turn; one that is refused leaves it as it was."""
        parts = self._keeping.ask(question, self._named.model, self._settings.model_dump())
        (reply,) = self._shown(parts, is_shown=is_shown)
        if reply.dropped_turns:
            say(f"Oldest turns that were left out to fit: {reply.dropped_turns}.")
        if reply.finish_reason == "length":
            say("The answer is longer than allowed: `/set max_new_tokens` allows more.")
        return reply

    def _answer_or_offer(self, question: str) -> None:
        """Answer; where the context is full, offer once to leave the oldest turns out."""
        try:
            self.answer(question)
        except InvalidInput as error:
            if error.details.get("code") != _FULL or self._settings.drop_oldest or self._has_offered:
                raise
            show_error(error)
            self._has_offered = True
            if not ask("Leave the oldest turns out, now and from here on?"):
                return
            self._settings = self._with(drop_oldest=True)
            self.answer(question)

    def _shown(self, parts: Parts, *, is_shown: bool = True) -> list[ChatReply]:
        """All of some answers; of those that come side by side, each is shown when the ones before it are."""
        shown: dict[int, str] = {}
        with contextlib.closing(parts), _progress() as tell:
            while True:
                try:
                    part = next(parts)
                except StopIteration as end:
                    if is_shown and len(end.value) == 1:
                        sys.stdout.write("\n")
                    return list(end.value)
                tell(part.words)
                shown[part.place] = shown.get(part.place, "") + part.text
                if is_shown and part.thought and part.place == 0:
                    talk().print(plain(part.thought), style="dim", end="")
                if is_shown and part.text and part.place == 0:
                    sys.stdout.write(plain(part.text))
                    sys.stdout.flush()

    # --- commands

    def _do(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        commands = {
            "/model": self._model,
            "/system": self._system,
            "/set": self._set,
            "/again": self._again,
            "/compare": self._compare,
            "/rate": self._rate,
            "/correct": self._correct,
            "/title": self._title,
            "/save": self._save,
            "/reset": self._reset,
            "/help": self._help,
        }
        if command not in commands:
            raise InvalidInput(f"There is no command `{command}`.", hint="`/help` shows them.")
        commands[command](rest.strip())

    def _model(self, name: str) -> None:
        self._named = self._client.chats.named(name)
        say(f"Talking to {shown_name(self._named)}.")

    def _system(self, text: str) -> None:
        self._settings = self._with(system_prompt=text)

    def _again(self, _rest: str) -> None:
        self._shown(self._keeping.again([self._named.model], self._settings.model_dump()))

    def _correct(self, text: str) -> None:
        self._keeping.rate(None, None, _needed(text, "/correct Paris is the capital."))
        say("Noted what it should have been.")

    def _title(self, title: str) -> None:
        self._keeping.title(_needed(title, "/title Capitals"))

    def _reset(self, _rest: str) -> None:
        self._keeping = Unkept(self._client) if isinstance(self._keeping, Unkept) else Kept(self._client)
        say("A new conversation.")

    def _help(self, _rest: str) -> None:
        for words in _HELP:
            talk().print(tr(words), soft_wrap=True)

    def _set(self, rest: str) -> None:
        from tunesmith.cli.arguments import pairs

        if not rest:
            values = self._settings.model_dump()
            talk().print(facts((name, str(value)) for name, value in values.items()))
            return
        name, _, value = rest.replace("=", " ", 1).partition(" ")
        self._settings = self._with(**pairs([f"{name}={value.strip()}"], "/set", "seed=1"))

    def _with(self, **changes: Any) -> Any:
        kind = type(self._settings)
        return kind.read(kind.merged(self._settings.model_dump(), changes))

    def _compare(self, rest: str) -> None:
        """Let models answer the last question.

        Raises:
            InvalidInput: Too few or too many are named, two are the same weights, or nothing was asked.
        """
        from tunesmith.chat.comparing import refuse_same_weights

        names = rest.split()
        named = [self._client.chats.named(name) for name in names]
        refuse_same_weights(names, [one.content or one.weights for one in named])
        models = [one.model for one in named]
        parts = self._keeping.again(models, self._settings.model_dump())
        for place, reply in enumerate(self._shown(parts, is_shown=False), start=1):
            out().print(f"--- {place}: {plain(reply.model)}")
            sys.stdout.write(plain(reply.text) + "\n")
            why = getattr(reply, "why", "")
            if why:
                warn(why)
        if self._keeping.id is not None:
            say("`/rate better 2` says which is better; the conversation goes on from that one.")

    def _rate(self, rest: str) -> None:
        words = rest.split()
        number = words[1] if len(words) == 2 else None
        is_number = number is None or (number.isascii() and number.isdecimal() and 0 < int(number[:4]) < 10)
        if not words or words[0] not in ("better", "worse") or len(words) > 2 or not is_number:
            raise InvalidInput(
                "An answer is rated `better` or `worse`.", hint="As in `/rate better`, or `/rate worse 2`."
            )
        self._keeping.rate(None if number is None else int(number) - 1, words[0], None)
        say("Rated. `tunesmith chats ratings` shows all ratings.")

    def _save(self, file: str) -> None:
        keeping = self._keeping
        if isinstance(keeping, Unkept):
            kept = self._client.conversations.create(
                self._named.model, messages=keeping.turns, **self._settings.model_dump()
            )
            self._keeping = Kept(self._client, kept.id)
        if self._keeping.id is None:
            raise InvalidInput("Nothing was asked yet.", hint="Ask something first.")
        if not file:
            say(f"The conversation is kept: `tunesmith chat --continue {self._keeping.id}`.")
            return
        write_new(Path(file).expanduser(), self._client.conversations.export(self._keeping.id, "jsonl"))


def write_new(path: Path, text: str, *, force: bool = False) -> None:
    """Write a file that is not there yet, and say so.

    Raises:
        InvalidInput: It is there, or its folder cannot be written to.
    """
    if path.exists() and not force:
        raise InvalidInput(f"`{path}` is there already.", hint="Name another file.")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"`{path}` cannot be written: {error.strerror}.", hint="Check its folder."
        ) from error
    say(f"Wrote `{path}`.")


def shown_name(named: NamedModel) -> str:
    """A model's name, with why it is this one."""
    return f"`{named.model}` ({tr(named.why)})" if named.why else f"`{named.model}`"


def _needed(text: str, example: str) -> str:
    if not text:
        raise InvalidInput("Something is to be said behind it.", hint=f"As in `{example}`.")
    return text


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

"""A model's chat template: found in its folder, rendered in a sandbox exactly as transformers renders it.

Knows Jinja and the files that may hold a template. Knows nothing of rows or tokens.

The sandbox keeps a template away from Python, and bounds its output and its multiplications; it cannot bound time. A
model folder from a stranger belongs into a process that may be ended.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.row_problem import RowProblem
from tunesmith.rows.chat.builtin_templates import BUILT_IN
from tunesmith.rows.files.json_file import read_object

if TYPE_CHECKING:
    import jinja2

MAX_OUTPUT_CHARACTERS = 10_000_000
MAX_TEMPLATE_BYTES = 1024**2
TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKEN_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_OWN_NAMES = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now", "dict"}
)
_NO_TEMPLATE = (
    "Choose one with `chat_template`: a built-in name ({fitting}), or the path of a Jinja file such as the "
    "`chat_template.jinja` of the model's chat version. Or train on plain text with `text_column`."
)


class ChatTemplate:
    """A compiled template with the special tokens it may name.

    Args:
        source: The Jinja text.
        special_tokens: `bos_token` and the like, as strings.

    Raises:
        InvalidModel: The text is no template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        import jinja2

        self.source = source
        self.special_tokens = dict(special_tokens or {})
        try:
            self._compiled = _environment().from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            raise InvalidModel(
                f"The chat template cannot be compiled: {error}" + (f" (line {line})." if line else "."),
                hint="Copy the template from the original model folder again.",
                field=TEMPLATE_FILE,
            ) from error

    @classmethod
    def from_folder(cls, folder: str | Path) -> "ChatTemplate":
        """The template of a model folder.

        Raises:
            InvalidModel: It has none, or one that is broken.
        """
        source = find_template(Path(folder))
        if source is None:
            raise InvalidModel(
                f"`{folder}` has no chat template (`{TEMPLATE_FILE}`, or `chat_template` in `{TOKENIZER_CONFIG}`).",
                hint=_NO_TEMPLATE.format(fitting=_fitting(Path(folder))),
                field=TEMPLATE_FILE,
            )
        return cls(source, find_special_tokens(Path(folder)))

    @classmethod
    def chosen(cls, choice: str, folder: str | Path) -> "ChatTemplate":
        """The template that a user chose, for the tokenizer in a folder.

        Args:
            choice: A built-in name, or the path of a Jinja file.
            folder: The tokenizer's folder.

        Raises:
            InvalidInput: There is no such template, or the tokenizer lacks the tokens that it writes.
            InvalidModel: The file is no template.
        """
        special = find_special_tokens(Path(folder))
        if choice not in BUILT_IN:
            if not Path(choice).is_absolute():
                raise InvalidInput(
                    f"`chat_template`: there is no built-in template `{choice}`.",
                    hint=f"Use {_names(BUILT_IN)}, or the absolute path of a Jinja file.",
                )
            return cls(_read_template(Path(choice)), special)
        missing = _missing_tokens(choice, Path(folder), special)
        if missing:
            raise InvalidInput(
                f"`chat_template={choice}` writes {_names(missing)}, which this tokenizer does not know as tokens of "
                "their own.",
                hint=f"Built-in templates that fit this tokenizer: {_fitting(Path(folder))}. Or give the path of a "
                "Jinja file.",
            )
        return cls(BUILT_IN[choice].source, special)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the template's text, in hex: two models with the same one read conversations alike."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of a conversation; with `add_generation_prompt`, up to where the model is to answer.

        Args:
            messages: Objects with `role` and `content`.
            add_generation_prompt: Whether to open an answer at the end.
            tools: The functions that may be called; None for none.
            variables: More that the template may ask for, such as `enable_thinking`.

        Raises:
            RowProblem: The template refuses the conversation, or writes more than 10 million characters; or a variable
                has a name that means something else.
        """
        taken = [name for name in variables or () if name in _OWN_NAMES or name in self.special_tokens]
        if taken:
            raise RowProblem(
                f"`{taken[0]}` is no variable of a chat template that may be given: it is the conversation's own.",
                "Leave it out.",
            )
        chunks: list[str] = []
        size = 0
        try:
            for chunk in self._compiled.generate(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
                **(variables or {}),
            ):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_OUTPUT_CHARACTERS:
                    raise RowProblem(
                        f"The chat template writes more than {MAX_OUTPUT_CHARACTERS} characters for this conversation.",
                        "Split the conversation.",
                    )
        except RowProblem:
            raise
        except Exception as error:  # a template may raise whatever an expression raises
            raise RowProblem(
                f"The model's chat template refuses this conversation: {error}.".replace("..", "."),
                "Write the turns as this model expects them: some take no `system` turn, or need `user` and "
                "`assistant` in turn.",
            ) from error
        return "".join(chunks)


def template_of(
    folder: str | Path, *, tokenizer: str | Path | None = None, chat_template: str | None = None
) -> ChatTemplate:
    """The chat template that a model's conversations are written with. The arguments are those of
    `Encoder.from_folder`.

    Raises:
        InvalidModel: There is none, or it is broken.
        InvalidInput: The chosen template is unknown, or does not fit the tokenizer.
    """
    source = Path(tokenizer or folder)
    if chat_template:
        return ChatTemplate.chosen(chat_template, source)
    if tokenizer and find_template(source) is None and (own := find_template(Path(folder))):
        return ChatTemplate(own, find_special_tokens(source))
    return ChatTemplate.from_folder(source)


def find_template(folder: Path) -> str | None:
    """The text of a folder's chat template; None when it has none. The file wins over the tokenizer's config.

    Raises:
        InvalidModel: There are several and none is `default`, or the text cannot be read.
    """
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return _read_template(file)
    config = folder / TOKENIZER_CONFIG
    found = read_object(config).get("chat_template") if config.is_file() else None
    if isinstance(found, list):
        named = {
            str(item["name"]): item["template"] for item in found if isinstance(item, dict) and len(item) == 2
        }
        if not isinstance(named.get("default"), str):
            names = ", ".join(f"`{name}`" for name in named) or "none"
            raise _bad_template(f"`{config}` has no chat template named `default`, only: {names}.")
        found = named["default"]
    if found is not None and not isinstance(found, str):
        raise _bad_template(f"`chat_template` in `{config}` is no string.")
    return found or None


def find_special_tokens(folder: Path) -> dict[str, str]:
    """A folder's special tokens by their names (`bos_token`, ...), as far as it names them."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", TOKENIZER_CONFIG):  # the later one wins
        file = folder / name
        config = read_object(file) if file.is_file() else {}
        for key in SPECIAL_TOKEN_NAMES:
            value = config.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                tokens[key] = value
    return tokens


def _read_template(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_TEMPLATE_BYTES:
            raise _bad_template(f"`{file}` is larger than {MAX_TEMPLATE_BYTES // 1024} KB.")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_template(f"`{file}` cannot be read: {error}.") from error


def _missing_tokens(name: str, folder: Path, special: Mapping[str, str]) -> list[str]:
    """What a built-in template writes and the tokenizer in a folder does not know."""
    file = folder / "tokenizer.json"
    tokenizer = read_object(file) if file.is_file() else {}
    added = {token.get("content") for token in tokenizer.get("added_tokens", []) if isinstance(token, dict)}
    missing = [token for token in BUILT_IN[name].tokens if token not in added]
    if "eos_token" in BUILT_IN[name].source and "eos_token" not in special:
        missing.append("eos_token")
    return missing


def _fitting(folder: Path) -> str:
    """The built-in templates whose tokens a folder's tokenizer knows, in words."""
    special = find_special_tokens(folder)
    return _names(name for name in BUILT_IN if not _missing_tokens(name, folder, special)) or "none fits"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _bad_template(message: str) -> InvalidModel:
    return InvalidModel(
        message, hint="Put the template to use into `chat_template.jinja`.", field=TEMPLATE_FILE
    )


def _raise_exception(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    # The local clock, as transformers takes it: the same template must give the same text.
    return dt.datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML and non-ASCII, which no model was trained on.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _make_dict(*args: Any, **values: Any) -> dict[Any, Any]:
    return dict(*args, **values)


def _result_size(operator: str, left: Any, right: Any) -> int:
    """About how large `left * right` or `left ** right` would be, in characters, elements or bits."""
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
    sized, times = (right, left) if isinstance(left, int) else (left, right)
    return len(sized) * times if isinstance(sized, str | list | tuple) and isinstance(times, int) else 0


def _environment() -> "jinja2.Environment":
    from jinja2 import nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationMarks(Extension):
        """`{% generation %}...{% endgeneration %}` marks what an assistant says; here it is just its body."""

        tags = {"generation"}  # noqa: RUF012  (Jinja's own declaration)

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # A call block is what transformers makes of it: names set inside do not leak out, as they do not there.
            return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller: Any) -> str:
            text: str = caller()
            return text

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            if _result_size(operator, left, right) > MAX_OUTPUT_CHARACTERS:
                raise SecurityError("the chat template makes a value that is too large")
            return super().call_binop(context, operator, left, right)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationMarks, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _make_dict
    return environment

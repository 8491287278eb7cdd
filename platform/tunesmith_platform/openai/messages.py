"""A conversation in OpenAI's form: its messages, the tools in it, and what of them is refused, each with its place.

Knows both forms; knows no HTTP and no settings of answers.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.chat.wire import MAX_TOOLS, Format, Message, ToolCall, Tools
from tunesmith.errors import InvalidInput
from tunesmith_platform.routing import read_json

_ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
MAX_CALLS = 128


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="ignore")
    type: str = Field(description="`text`: others are not read here.")
    text: str = ""


class CalledFunction(BaseModel):
    """A function that an answer called."""

    model_config = ConfigDict(extra="ignore")
    name: _ToolName
    arguments: str = Field("{}", description="JSON text of an object.")


class GivenCall(BaseModel):
    """A tool's call in an answer of the history."""

    model_config = ConfigDict(extra="ignore")
    id: str = Field("", max_length=200)
    type: str = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """A message, with whatever else clients send back of an answer that they were given."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[GivenCall], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: str | None = Field(None, max_length=200)
    name: str | None = Field(None, max_length=200)


class GivenFunction(BaseModel):
    """A function that may be called."""

    model_config = ConfigDict(extra="ignore")
    name: _ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = Field(
        None, description="A JSON schema; without one it takes nothing."
    )
    strict: bool | None = Field(
        None, description="Arguments are held to the schema; they are in any case where a call is forced."
    )


class GivenTool(BaseModel):
    """A tool that may be called."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["function"]
    function: GivenFunction


class NamedFunction(BaseModel):
    """The name of a function."""

    model_config = ConfigDict(extra="ignore")
    name: str


class NamedTool(BaseModel):
    """The tool that is to be called."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["function"]
    function: NamedFunction


GivenTools = Annotated[list[GivenTool], Field(max_length=MAX_TOOLS)]
Choice = Literal["none", "auto", "required"] | NamedTool


class SchemaFormat(BaseModel):
    """A schema that an answer is held to."""

    model_config = ConfigDict(extra="ignore")
    name: str | None = Field(None, max_length=64)
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool | None = Field(None, description="An answer is held to it in any case.")


class ResponseFormat(BaseModel):
    """What an answer is made to be."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


def messages_of(given: list[ChatMessage]) -> list[Message]:
    """A conversation.

    Raises:
        InvalidInput: Something in it is no text, or no call; names its place.
    """
    found: list[Message] = []
    called: dict[str, str] = {}
    for place, one in enumerate(given):
        message = _message(f"messages[{place}]", one, called)
        called |= {call.id: call.name for call in message.tool_calls}
        found.append(message)
    return found


def tools_of(given: GivenTools | None, choice: Choice | None, parallel: bool | None) -> Tools | None:
    """What may be called; None where nothing may.

    Raises:
        InvalidInput: The choice names no tool that is given, or two have one name.
    """
    tools = [tool.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for tool in given or ()]
    names = [tool["function"]["name"] for tool in tools]
    twice = next((place for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InvalidInput(f"Two tools are called `{names[twice]}`.", field=f"tools[{twice}].function.name")
    only = choice.function.name if isinstance(choice, NamedTool) else None
    if only is not None and only not in names:
        raise InvalidInput(
            f"`tool_choice` names `{only}`, and no tool is called so.", field="tool_choice.function.name"
        )
    if choice == "required" and not tools:
        raise InvalidInput("`tool_choice` is `required`, and there are no `tools`.", field="tool_choice")
    if not tools or choice == "none":
        return None
    return Tools(
        offered=tools,
        must=choice == "required" or only is not None,
        only=only,
        parallel=parallel is not False,
        strict=frozenset(tool.function.name for tool in given or () if tool.function.strict),
    )


def format_of(given: ResponseFormat | None) -> Format | None:
    """What an answer is held to; None for text.

    Raises:
        InvalidInput: A schema is named and not given.
    """
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return Format(field="response_format")
    if given.json_schema is None:
        raise InvalidInput(
            "The format is `json_schema`, and there is none.",
            hint='Send `{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}`.',
            field="response_format.json_schema",
        )
    return Format(json_schema=given.json_schema.json_schema, field="response_format.json_schema.schema")


def not_here(field: str, message: str, hint: str | None = None) -> InvalidInput:
    """What is asked for and not done here."""
    return InvalidInput(message, hint=hint or f"Leave `{field}` out.", field=field)


def _message(where: str, message: ChatMessage, called: dict[str, str]) -> Message:
    if message.role == "function":
        raise not_here(f"{where}.role", "Functions have become tools.", "Send a message of the role `tool`.")
    parts = message.content
    if isinstance(parts, list):
        other = next((part for part in parts if part.type not in ("text", "input_text", "output_text")), None)
        if other is not None:
            raise not_here(
                f"{where}.content", f"Parts of type `{other.type[:40]}` are not read here.", "Send text."
            )
        parts = "".join(part.text for part in parts)
    if parts is None:
        if message.role != "assistant":
            raise InvalidInput("The message has no content.", hint="Send text.", field=f"{where}.content")
        parts = ""
    if message.role == "tool":
        if not message.tool_call_id:
            raise InvalidInput(
                "The message does not say which call it answers.",
                hint="Send the `id` of the call.",
                field=f"{where}.tool_call_id",
            )
        return Message(
            role="tool",
            content=parts,
            tool_call_id=message.tool_call_id,
            name=message.name or called.get(message.tool_call_id, ""),
        )
    if message.role != "assistant":
        return Message(role="user" if message.role == "user" else "system", content=parts)
    return Message(
        role="assistant",
        content=parts,
        reasoning=message.reasoning_content or "",
        tool_calls=[
            _call(f"{where}.tool_calls[{place}]", call) for place, call in enumerate(message.tool_calls or ())
        ],
    )


def _call(where: str, call: GivenCall) -> ToolCall:
    try:
        arguments = read_json(call.function.arguments.encode()) if call.function.arguments.strip() else {}
    except InvalidInput as error:
        raise InvalidInput(
            "The arguments of the call are no JSON.", hint=error.message, field=f"{where}.function.arguments"
        ) from error
    if not isinstance(arguments, dict):
        raise InvalidInput("The arguments of the call are no object.", field=f"{where}.function.arguments")
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)

"""Pydantic AI asks as its users do: `python pydantic_ai_client.py URL KEY` prints what came of it. No test itself."""

import asyncio
import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Town(BaseModel):
    """A town."""

    name: str
    people: int


CALLED: list[Any] = []


def weather(city: str) -> str:
    """The weather of a place."""
    CALLED.append(["weather", {"city": city}])
    return f"Rain in {city}."


async def main(url: str, key: str) -> dict[str, Any]:
    model = OpenAIChatModel("smol", provider=OpenAIProvider(base_url=url, api_key=key))
    async with Agent(model).run_stream("Say hello.") as stream:
        text = "".join([part async for part in stream.stream_text(delta=True)])
        usage = stream.usage() if callable(stream.usage) else stream.usage
    able = Agent(model, tools=[weather])
    answered = await able.run("How is the weather?")
    called = list(CALLED)
    CALLED.clear()
    async with able.run_stream("How is the weather?") as stream:
        await stream.get_output()
    held = await Agent(model, output_type=NativeOutput(Town)).run("Name a town.")
    forced = await Agent(model, output_type=Town).run("Name a town.")
    assert forced.output == held.output
    return {
        "text": text,
        "usage": [usage.input_tokens, usage.output_tokens],
        "called": called,
        "called_in_a_stream": CALLED,
        "after_the_call": answered.output,
        "held": held.output.model_dump(),
    }


print(json.dumps(asyncio.run(main(*sys.argv[1:3]))))

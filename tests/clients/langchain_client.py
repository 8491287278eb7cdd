"""LangChain asks as its users do: `python langchain_client.py URL KEY` prints what came of it. No test itself."""

import json
import sys

from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Town(BaseModel):
    """A town."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather of a place."""
    return f"Rain in {city}."


def put_together(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


url, key = sys.argv[1:3]
model = ChatOpenAI(model="smol", base_url=url, api_key=key, stream_usage=True, max_retries=0)
streamed = put_together(list(model.stream("Say hello.")))
able = model.bind_tools([weather])
asked = able.invoke("How is the weather?")
told = put_together(list(able.stream("How is the weather?")))
answered = able.invoke([("user", "How is the weather?"), asked, weather.invoke(asked.tool_calls[0])])
held = model.with_structured_output(Town, method="json_schema").invoke("Name a town.")
print(
    json.dumps(
        {
            "text": streamed.content,
            "usage": [streamed.usage_metadata["input_tokens"], streamed.usage_metadata["output_tokens"]],
            "called": [[call["name"], call["args"]] for call in asked.tool_calls],
            "called_in_a_stream": [[call["name"], call["args"]] for call in told.tool_calls],
            "after_the_call": answered.content,
            "held": held.model_dump(),
        }
    )
)

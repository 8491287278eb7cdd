"""Tokens a second through API, Ray Serve and SSE: `python tests/bench/chat_api.py --model FOLDER [--rounds 5]`.

The whole way that a client's question takes, against a real `llama-server` on the same F16 file, both with as many
threads and both drawing greedily, no prompt reused. The sides alternate in one run, and the best round of each counts:

- `ours`: `/openai/v1/completions` of a platform that `tunesmith up` started;
- `wheel`: the server that the wheel of llama.cpp brings, in a process of its own;
- `debian`: Debian's own `llama-server`, unpacked into a folder and started by chroot (`debian_llama.py`). Where
  the archive is not reached, or root is not there, it is left out with a word;
- each of these two also `giving way`: with threads that sleep when they wait for each other, as ours do.

Then what only a conversation shows: from nothing to the first token, the second turn's first token to the first's on a
long history, and 32 streams at once. What adapters cost shows `chat_engines.py`. A table at the end holds it to bars;
the load of the machine is printed, since a busy one makes the sides slower by different factors.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import debian_llama  # noqa: E402
import httpx  # noqa: E402
from chat_engines import Server, Timed  # noqa: E402
from waiting import free_port  # noqa: E402

os.environ.pop("GOMP_SPINCOUNT", None)  # of the engines' bench: here each side has its own
STREAMS, MANY, CONTEXT = 4, 32, 2048
TEXTS = [
    "The history of France is long. It begins with the Gauls, who",
    "Once upon a time a small model wanted to learn how to answer questions. It",
    "To bake a good loaf of bread one needs flour, water, salt and time. First",
    "Rivers carry water from the mountains to the sea, and on their way they",
]
HISTORY = (
    "Tell me about the rivers, the towns and the people of France, one after the other, and leave nothing out. "
    * 24
)
GIVING_WAY = {"GOMP_SPINCOUNT": "0"}


class Debian:
    """Debian's server, in a process of its own."""

    def __init__(self, root: Path, file: Path, threads: int, environment: dict[str, str]) -> None:
        port = free_port()
        given = debian_llama.command(
            root, "llama-server", "-m", debian_llama.placed(root, file), "-c", str(STREAMS * CONTEXT),
            "-np", str(STREAMS), "-t", str(threads), "-tb", str(threads), "--host", "127.0.0.1", "--port", str(port),
        )  # fmt: skip
        self.process = subprocess.Popen(
            given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | environment
        )
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600, trust_env=False)

    async def ready(self) -> None:
        for _ in range(1200):
            with contextlib.suppress(httpx.HTTPError):
                if (await self.client.get("/health")).status_code == 200:
                    return
            if self.process.poll() is not None:
                raise SystemExit(f"Debian's llama-server ended with {self.process.returncode}.")
            await asyncio.sleep(0.05)
        raise SystemExit("Debian's llama-server does not answer.")

    async def close(self) -> None:
        await self.client.aclose()
        self.process.terminate()
        self.process.wait(20)


class Side:
    """Whoever answers texts."""

    def __init__(self, client: httpx.AsyncClient, path: str, more: dict[str, Any]) -> None:
        self.client, self.path, self.more = client, path, more

    async def ask(self, text: str, count: int) -> Timed:
        """How long an answer of so many tokens takes."""
        name = "max_tokens" if self.path.startswith("/openai") else "n_predict"
        given = {"prompt": text, "stream": True, **self.more, name: count}
        began, first, found = time.monotonic(), 0.0, 0
        async for event in _events(self.client, self.path, given):
            words = event.get("content") or "".join(one.get("text") or "" for one in event.get("choices", ()))
            if words and not first:
                first = time.monotonic() - began
            usage = event.get("usage") or {}
            found = usage.get("completion_tokens") or event.get("tokens_predicted") or found
        assert found == count, f"{found} tokens of {count}"
        return Timed(found, first)


async def _events(
    client: httpx.AsyncClient, path: str, given: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("POST", path, json=given) as answer:
        if answer.status_code != 200:
            raise SystemExit((await answer.aread()).decode()[-2000:])
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                event = json.loads(line[6:])
                assert "error" not in event, event
                yield event


async def rate(side: Side, streams: int, count: int) -> tuple[float, float]:
    """Tokens a second of streams that run together, and the longest wait for a first token."""
    began = time.monotonic()
    found = await asyncio.gather(*(side.ask(TEXTS[place % len(TEXTS)], count) for place in range(streams)))
    return sum(one.tokens for one in found) / (time.monotonic() - began), max(one.first for one in found)


@contextlib.contextmanager
def platform(place: Path, model: Path) -> Iterator[httpx.AsyncClient]:
    """A platform of its own that knows the model; its client."""
    home = place / "home"
    os.environ["TUNESMITH_HOME"] = str(home)
    os.environ["TUNESMITH_WARM_RUNNERS"] = "0"
    tunesmith = str(Path(sys.executable).parent / "tunesmith")
    try:
        subprocess.run([tunesmith, "up", "--allow", str(model.parent)], check=True, stdout=sys.stderr)
        from tunesmith import Client
        from tunesmith.home import Home

        ours = Client()
        ours.models.register(str(model), "bench")
        key = Home().api_key_file.read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        yield httpx.AsyncClient(base_url=ours.url, headers=headers, timeout=600, trust_env=False)
    finally:
        subprocess.run([tunesmith, "down"], check=False, stdout=sys.stderr)


async def turns(client: httpx.AsyncClient) -> tuple[float, float]:
    """Seconds to the first token of a long conversation's first answer, and of the second one in it."""
    talk = [{"role": "user", "content": HISTORY}]

    async def answer() -> float:
        began, first, text = time.monotonic(), 0.0, ""
        given = {"model": "bench", "messages": talk, "stream": True, "max_tokens": 16, "temperature": 0}
        async for event in _events(client, "/openai/v1/chat/completions", given):
            said = event["choices"][0]["delta"].get("content") or ""
            first = first or (time.monotonic() - began if said else 0.0)
            text += said
        talk.extend(
            [{"role": "assistant", "content": text}, {"role": "user", "content": "And the mountains?"}]
        )
        return first

    return await answer(), await answer()


def ends_of(model: Path) -> dict[str, int]:
    """Every control token of a model, never to be drawn: all sides answer as long as they are asked to."""
    added = json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    return {str(one["id"]): -100 for one in added if one["special"]}


async def peers(options: argparse.Namespace, place: Path, file: Path) -> tuple[dict[str, Side], list[Any]]:
    """The other sides, ready to answer; and what is to be closed."""
    drawing = {
        "temperature": 0, "cache_prompt": False, "ignore_eos": True, "samplers": ["temperature"],
    }  # fmt: skip
    given = {"file": str(file), "slots": STREAMS, "threads": options.threads, "adapters": []}
    servers: dict[str, Any] = {
        "wheel": Server(given, {}),
        "wheel, giving way": Server(given, GIVING_WAY),
    }
    try:
        root = debian_llama.unpacked(options.debian or place / "debian")
        print(f"debian: {debian_llama.version(root)}", flush=True)
        for name, environment in (("debian", {}), ("debian, giving way", GIVING_WAY)):
            servers[name] = Debian(root, file, options.threads, environment)
            await servers[name].ready()
    except debian_llama.NotHere as error:
        print(f"Debian's llama-server is left out: {error}", flush=True)
    sides = {name: Side(server.client, "/completion", drawing) for name, server in servers.items()}
    return sides, list(servers.values())


async def run(options: argparse.Namespace, place: Path) -> None:
    from tunesmith_serve.gguf_files import GgufFiles

    model = Path(options.model).resolve()
    file = GgufFiles(place / "gguf", place / "scratch").model(model)
    with platform(place, model) as client:
        own = {
            "model": "bench", "temperature": 0, "seed": 1, "logit_bias": ends_of(model),
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        ours = Side(client, "/openai/v1/completions", own)
        cold = (await ours.ask(TEXTS[0], 4)).first
        others, servers = await peers(options, place, file)
        sides = {"ours": ours, **others}
        best: dict[tuple[str, int], float] = {}
        first: dict[tuple[str, int], float] = {}
        try:
            for _ in range(options.rounds):
                for name, side in sides.items():
                    await side.ask(TEXTS[0], 2)
                    for streams in (1, STREAMS):
                        found, wait = await rate(side, streams, options.tokens)
                        best[name, streams] = max(best.get((name, streams), 0), found)
                        first[name, streams] = min(first.get((name, streams), 1e9), wait)
                        print(
                            f"{name}, {streams}: {found:.1f} tokens/s, first {wait * 1000:.0f} ms", flush=True
                        )
            talk = await turns(client)
            many = await asyncio.gather(*(_timed(ours, TEXTS[n % 4], options.tokens) for n in range(MANY)))
        finally:
            for server in servers:
                await server.close()
            await client.aclose()
    rows = [
        (
            f"tokens/s, {streams} streams, to `{name}`",
            f"{best['ours', streams] / best[name, streams]:.2f}",
            ">= 0.97",
        )
        for streams in (1, STREAMS)
        for name in others
    ]
    rows += [
        (
            f"first token, 1 stream, after `{name}`'s, ms",
            f"{(first['ours', 1] - first[name, 1]) * 1000:.0f}",
            "<= 15",
        )
        for name in others
    ]
    rows += [
        ("from nothing to the first token, s", f"{cold:.1f}", "< 15"),
        ("second turn's first token, to the first's", f"{talk[1] / talk[0]:.2f}", "< 0.25"),
        (f"{MANY} streams: the slowest to the fastest", f"{max(many) / min(many):.1f}", "< 3"),
    ]
    print()
    for what, found_text, bar in rows:
        print(f"{what:60} {found_text:>8}  {bar}")
    print(
        f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.threads} threads"
    )


async def _timed(side: Side, text: str, count: int) -> float:
    began = time.monotonic()
    await side.ask(text, count)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="A model's folder, such as SmolLM2's.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--debian", type=Path, help="Where Debian's llama.cpp is unpacked, or goes.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(run(options, Path(place)))


if __name__ == "__main__":
    main()

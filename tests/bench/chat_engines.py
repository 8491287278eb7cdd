"""How fast engines answer: `python tests/bench/chat_engines.py [--model FOLDER] [--threads 2] [--rounds 3]`.

Without a model's folder a small random one is taken, which shows that the bench runs; the figures of note are those of
a real model. The sides alternate in one run, answer the same prompts greedily, and compute with the same file:

- `ours`: `LlamaCpp`, by its own protocol;
- `server`: llama.cpp's HTTP server as the wheel brings it, in a process of its own, as it comes;
- `server, giving way`: the same, whose threads sleep when they wait for each other (`GOMP_SPINCOUNT=0`), as ours do;
- `transformers`: `Transformers`, in fp32.

A table at the end holds what was measured to the bars. A busy machine makes the sides slower by different factors: the
load is printed, and the best round of each side counts.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "tunesmith_jobs", "tunesmith_serve")]
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # of transformers, as a replica sets it

import asked  # noqa: E402
import httpx  # noqa: E402
import psutil  # noqa: E402
from engine_cases import prompts  # noqa: E402

from tunesmith.gguf import write_lora_gguf  # noqa: E402
from tunesmith_serve.gguf_files import GgufFiles  # noqa: E402
from tunesmith_serve.llama_cpp import LlamaCpp  # noqa: E402
from tunesmith_serve.transformers_engine import Transformers  # noqa: E402

STREAMS, ADAPTERS, HISTORY = 4, 8, 450
SERVER = """
import json, sys
import xllamacpp

given = json.loads(sys.argv[1])
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_parallel, settings.n_ctx = given["file"], given["slots"], given["slots"] * 2048
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = given["threads"]
settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(file, 0.0) for file in given["adapters"]]
settings.verbosity = 0
server = xllamacpp.Server(settings)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


class Timed(NamedTuple):
    """One answer."""

    tokens: int
    first: float
    """Seconds until its first token."""


Ask = Callable[[str | None, list[int], int], Awaitable[Timed]]
"""Asks with an adapter's name or None, a prompt, and how many tokens are wanted."""


async def timed(tokens: AsyncIterator[int]) -> Timed:
    """How long an answer took; counts what each piece holds."""
    began, first, count = time.monotonic(), 0.0, 0
    async for number in tokens:
        first = first or time.monotonic() - began
        count += number
    return Timed(count, first)


def of_engine(engine: Any, base: Path, fresh: bool = True) -> Ask:
    """Asks an engine of ours."""

    async def ask(adapter: str | None, prompt: list[int], count: int) -> Timed:
        how = asked.how(max_new_tokens=count, seed=1 if fresh else None)
        answer = engine.generate(asked.served(base, adapter).weights, prompt, how, frozenset())
        return await timed(1 async for _ in answer)

    return ask


def of_server(client: httpx.AsyncClient, names: Sequence[str]) -> Ask:
    """Asks llama.cpp's server."""

    async def pieces(given: dict[str, Any]) -> AsyncIterator[int]:
        async with client.stream("POST", "/completion", json=given) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and (found := json.loads(line[6:]).get("tokens")):
                    yield len(found)

    async def ask(adapter: str | None, prompt: list[int], count: int) -> Timed:
        lora = [{"id": place, "scale": float(name == adapter)} for place, name in enumerate(names)]
        given = {
            "prompt": prompt, "n_predict": count, "temperature": 0, "stream": True, "return_tokens": True,
            "cache_prompt": False, "ignore_eos": True, "samplers": ["temperature"], "lora": lora,
        }  # fmt: skip
        return await timed(pieces(given))

    return ask


async def rate(
    ask: Ask, adapters: Sequence[str | None], asks: list[list[int]], count: int
) -> tuple[float, float]:
    """Tokens a second of streams that run together, and the longest wait for a first token."""
    began = time.monotonic()
    found = await asyncio.gather(
        *(ask(name, prompt, count) for name, prompt in zip(adapters, asks, strict=True))
    )
    return sum(one.tokens for one in found) / (time.monotonic() - began), max(one.first for one in found)


class Server:
    """llama.cpp's server, in a process of its own."""

    def __init__(self, given: dict[str, Any], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=os.environ | environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.client = httpx.AsyncClient(base_url=self.process.stdout.readline().strip(), timeout=600)

    async def close(self) -> None:
        await self.client.aclose()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


async def run(options: argparse.Namespace, place: Path) -> None:
    base = Path(options.model) if options.model else asked.make_model(place / "models" / "base")
    names = [f"bench-{number}" for number in range(ADAPTERS)]
    home = place / "adapters"
    for number, name in enumerate(names):
        asked.make_adapter(base, home / name, number, target_modules="all-linear")
    asked_of = [(one * 9)[:30] for one in prompts(STREAMS, low=20, high=60)]
    settings = asked.settings(base, place, threads=options.threads, context_length=2048, max_running=STREAMS)

    def served(name: str | None) -> Any:
        found = asked.served(base)
        more = {
            "name": name,
            "weights": f"print of {name} of {base.parent.name}",
            "model_uri": str(home / str(name)),
        }
        return found.model_copy(update=more | {"is_adapter": True}) if name else found

    ours = LlamaCpp(settings)
    await ours.load(served(None))
    memory = psutil.Process(ours.pid).memory_full_info().uss
    loads = []
    for name in names:
        began = time.monotonic()
        await ours.load(served(name))
        await of_engine(ours, base)(name, asked_of[0], 1)
        loads.append(time.monotonic() - began)
    grown = psutil.Process(ours.pid).memory_full_info().uss - memory
    own = sum((home / name / "adapter_model.safetensors").stat().st_size for name in names)

    for name in names[:STREAMS]:
        write_lora_gguf(home / name, base, place / f"{name}.gguf")
    given = {
        "file": str(GgufFiles(settings.cache, settings.scratch).model(base)), "slots": STREAMS,
        "threads": options.threads, "adapters": [str(place / f"{name}.gguf") for name in names[:STREAMS]],
    }  # fmt: skip
    plain = {name: value for name, value in (("GOMP_SPINCOUNT", ""),) if value}
    os.environ.pop("GOMP_SPINCOUNT")
    servers = {"server": Server(given, plain), "server, giving way": Server(given, {"GOMP_SPINCOUNT": "0"})}
    slow = Transformers(settings)
    await slow.load(served(None))
    sides: dict[str, Ask] = {"ours": of_engine(ours, base)}
    sides |= {name: of_server(server.client, names[:STREAMS]) for name, server in servers.items()}
    sides["transformers"] = of_engine(slow, base)

    best: dict[tuple[str, str], float] = {}
    for _ in range(options.rounds):
        for side, ask in sides.items():
            await ask(None, asked_of[0], 2)
            runs: dict[str, Sequence[str | None]] = {"1 stream": [None], "4 streams": [None] * STREAMS}
            if side != "transformers":
                runs["4 streams, 4 adapters"] = names[:STREAMS]
            for what, adapters in runs.items():
                count = options.tokens if side != "transformers" else options.tokens // 4
                found, first = await rate(ask, adapters, asked_of[: len(adapters)], count)
                print(f"{side}, {what}: {found:.1f} tokens/s, first token {first * 1000:.0f} ms", flush=True)
                best[side, what] = max(best.get((side, what), 0), found)
    history = (asked_of[0] * 50)[:HISTORY]
    warm = of_engine(ours, base, fresh=False)
    turns = [(await warm(None, history, 1)).first, (await warm(None, [*history, *asked_of[1]], 1)).first]
    same = min([(await warm(names[0], asked_of[2], 1)).first for _ in range(8)])
    other = min([(await warm(names[1 + turn % 2], asked_of[2], 1)).first for turn in range(8)])
    for server in servers.values():
        await server.close()
    await ours.close()
    await slow.close()

    def ratio(what: str, side: str) -> str:
        return f"{best['ours', what] / best[side, what]:.2f}"

    rows = [
        *((f"tokens/s, {what}, to `{side}`", ratio(what, side), bar) for what, bar in
          (("1 stream", ">= 0.97"), ("4 streams", ">= 0.97"), ("4 streams, 4 adapters", ">= 0.9")) for side in servers),
        ("tokens/s, 1 stream, to `transformers`", ratio("1 stream", "transformers"), ">= 1.8"),
        ("second turn's first token, to the first's", f"{turns[1] / turns[0]:.2f}", "< 0.25"),
        ("another adapter costs, ms", f"{(other - same) * 1000:.1f}", "< 15"),
        ("a new adapter to its first token, s", f"{max(loads):.2f}", "< 2"),
        ("memory of 8 adapters, to their own bytes", f"{grown / own:.2f}", "-"),
    ]  # fmt: skip
    print()
    for what, found, bar in rows:
        print(f"{what:55} {found:>8}  {bar}")
    print(
        f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.threads} threads"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(run(options, Path(place)))


if __name__ == "__main__":
    main()

"""`make nemesis SEEDS=60`: every part hurt in every phase of a task, and what that broke.

Each episode is one line in `.nemesis/results.jsonl`, with the commit that it ran on, so that runs of several days may
be added up: what ran on this commit, or on one that it descends from, counts in the table. `.nemesis/seed-N` keeps
what a broken promise left behind: log files, work folders, SQLite's file. With `NEMESIS='--s3 --postgresql'`
the storage and the database are servers. Exit code 1: something was broken.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from nemesis import episodes, plan
from nemesis.checker import Reference, table
from nemesis.world import World
from real_postgres import real_postgres
from real_s3 import real_s3

_RESULTS = Path(".nemesis/results.jsonl")
UNDISTURBED = plan.Episode(-1, (), 0.0)
_SHARE = 10
"""Seeds that run on one platform; the next ones run on one that has a warm runner, and so on by turns."""


def main() -> int:
    """Run the seeds that were asked for; says how far it is."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=60, help="How many.")
    arguments.add_argument("--first", type=int, default=0, help="The first one.")
    arguments.add_argument("--keep-going", action="store_true", help="After a violation too.")
    arguments.add_argument(
        "--missing", action="store_true", help="Only the cells that were not reached yet, several a seed."
    )
    arguments.add_argument("--s3", action="store_true", help="The storage is a server, and is what is hurt.")
    arguments.add_argument("--postgresql", action="store_true", help="The database is a server.")
    given = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the platform is ended on the way out
    commit = _git("rev-parse", "HEAD")
    chosen = _episodes(given.first, given.seeds, missing=given.missing, s3=given.s3)
    on = [name for name, wanted in (("s3", given.s3), ("postgresql", given.postgresql)) if wanted]
    begun, broken = time.monotonic(), 0
    _RESULTS.parent.mkdir(exist_ok=True)
    for done, result in enumerate(results(chosen, s3=given.s3, postgresql=given.postgresql), start=1):
        broken += bool(result["broken"])
        with _RESULTS.open("a") as file:
            file.write(json.dumps(result | {"commit": commit, "on": on}) + "\n")
        left = (time.monotonic() - begun) / done * (len(chosen) - done)
        print(f"   {done} of {len(chosen)}, about {left / 60:.0f} min left", flush=True)
        if broken and not given.keep_going:
            break
    print(table(counted()))
    print(f"{broken} seeds broke a promise.")
    return 1 if broken else 0


def _episodes(first: int, count: int, *, missing: bool, s3: bool) -> list[plan.Episode]:
    if not missing:
        return [plan.episode(seed, s3=s3) for seed in range(first, first + count)]
    hit = {tuple(cell) for result in counted() for cell in result["hit"]}
    return plan.packed([cell for cell in plan.every_cell(s3=s3) if tuple(cell) not in hit], first)[:count]


def results(
    chosen: Sequence[plan.Episode], *, s3: bool, postgresql: bool = False
) -> Iterator[dict[str, Any]]:
    """What came of each episode, as it ends; some share a platform."""
    for block, here in itertools.groupby(chosen, lambda episode: episode.seed // _SHARE):
        with contextlib.ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nemesis-")))
            server = stack.enter_context(real_s3(_folder(root / "s3"))) if s3 else None
            database_url = stack.enter_context(real_postgres()) if postgresql else ""
            world = World(_folder(root / "world"), warm=block % 2 == 1, s3=server, database_url=database_url)
            stack.enter_context(world.up())
            reference = undisturbed(world)
            for episode in here:
                yield one(world, episode, reference)


def undisturbed(world: World) -> Reference:
    """The task that nothing happens to."""
    result, seen = episodes.run(world, UNDISTURBED, None)
    assert not result.broken, result.broken
    episodes.clear(world, seen.task.id, UNDISTURBED.seed)
    return Reference(seen.losses, seen.eval_losses, result.model_sha256)


def one(world: World, episode: plan.Episode, reference: Reference) -> dict[str, Any]:
    """One seed, told in words as it happens."""
    seed = episode.seed
    print(f"seed {seed}: {'; '.join(map(str, episode.cells))}", flush=True)
    try:
        result, seen = episodes.run(world, episode, reference)
        if result.broken:
            _keep(world, seed)
        result.broken += episodes.clear(world, seen.task.id, seed)
    except Exception as error:  # whatever it is, it is a finding
        result = episodes.Result(seed, broken=[f"I3: {type(error).__name__}: {error}"])
        _keep(world, seed)
        with contextlib.suppress(Exception):
            world.heal()
            world.start()
            episodes.stop_all(world)
    print(f"   {result.seconds:.0f} s, {result.attempts} attempts, {len(result.hit)} hit", flush=True)
    for words in (*result.missed, *result.broken):
        print(f"   {words}", flush=True)
    return dataclasses.asdict(result)


def _keep(world: World, seed: int) -> None:
    """Keep what tells why a promise broke, which the platform's end removes."""
    kept = _RESULTS.parent / f"seed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    for folder in (world.home.root / "logs", world.home.work):
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(folder, kept / folder.name, ignore=shutil.ignore_patterns("*.safetensors"))
    world.database.keep(kept)


def counted() -> list[dict[str, Any]]:
    """The results that count: of this commit, and of those that it descends from."""
    lines = [json.loads(line) for line in _RESULTS.read_text().splitlines()] if _RESULTS.exists() else []
    commits = set(_git("rev-list", "HEAD").split())
    return [line for line in lines if line["commit"] in commits]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

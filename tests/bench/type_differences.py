"""How far each type of file is from a real model, and how much its limit leaves: `type_differences.py --model FOLDER`.

Of each type a file is written and proven as a package's is: without an importance matrix, and with one, computed of the
example's rows, where the type needs it. Printed are the difference (KL), the limit and how many times as much that is;
and first, what a file would show that knows nothing: the best guess that is the same at every token.

The end is an error where a file misses its limit, and the times are for who sets one: three and more, below what
knows nothing. The small model of the example is the one to take, since rounding hurts few numbers most. Types in two
bits take minutes each.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.gguf import FileType, Importance, write_gguf
from tunesmith.removal import discard_file
from tunesmith.spec.training import TrainSpec
from tunesmith_jobs.models.gguf_proof.checks import LIMITS
from tunesmith_jobs.models.gguf_proof.prover import Prover, Subject
from tunesmith_jobs.package.importance import Asked, importance_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS = Path(__file__).parents[2] / "configs" / "datasets" / "ember_train.jsonl"
TOKENS = 8192


def knows_nothing(logits: "Sequence[NDArray[np.float32]]") -> float:
    """The KL (nats a token) of the best guess that is the same everywhere: what the model says on average."""
    import numpy as np

    total, entropy, count = None, 0.0, 0
    for sequence in logits:
        for row in sequence:
            p = np.exp(row.astype(np.float64) - row.max())
            p /= p.sum()
            entropy -= float((p * np.log(np.maximum(p, 1e-300))).sum())
            total = p if total is None else total + p
            count += 1
    assert total is not None
    mean = total / count
    return float(-(mean * np.log(np.maximum(mean, 1e-300))).sum()) - entropy / count


def main() -> None:
    """Measure, and print a line a type."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--model", type=Path, required=True)
    given.add_argument("--types", default=",".join(FileType))
    given.add_argument("--threads", type=int, default=2)
    wish = given.parse_args()
    model: Path = wish.model
    training = TrainSpec.read({"model_name_or_path": str(model), "train_file": str(ROWS)})
    missed = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # Of the types that need a matrix last: they take longest.
        types = sorted(map(FileType, wish.types.split(",")), key=lambda one: one.needs_matrix)
        matrix: Importance | None = None
        prover: Prover | None = None
        for kind in types:
            if kind.needs_matrix and matrix is None:
                asked = Asked(model, None, training, model, None, ROWS, TOKENS, ("example",))
                matrix, prover = importance_of(asked, folder / "importance").importance, None
            if prover is None:
                subject = Subject(model, None, model, None, training, is_chat=True, matrix=matrix)
                prover = Prover(subject, folder, threads=wish.threads)
                prover.prepare()
                if kind is types[0]:
                    assert prover._heard is not None
                    print(f"knows nothing: {knows_nothing(prover._heard.logits):.2f} nats", flush=True)
            began = time.perf_counter()
            file = write_gguf(model, folder / f"{kind}.gguf", kind, matrix=matrix).path
            wrote = time.perf_counter() - began
            proof = prover.prove(file, kind)
            discard_file(file)
            apart, limit = proof.difference, LIMITS[kind]
            assert apart is not None, proof.sentence["en"]
            times = limit / apart.kl_mean
            missed += [kind] if times < 1 else []
            print(
                f"{kind:8} {'with a matrix' if matrix else '':13} KL {apart.kl_mean:.3g}, limit {limit:g}: "
                f"{times:.1f} times; the likeliest is the same in {apart.top1:.1%}, of sure tokens in "
                f"{apart.sure or 0:.1%}; {proof.verdict}, written in {wrote:.0f} s",
                flush=True,
            )
    if missed:
        raise SystemExit(f"Further than their limits: {', '.join(missed)}")


if __name__ == "__main__":
    main()

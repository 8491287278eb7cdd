"""A second witness of how far a file is from the model: `python tests/bench/kl_witness.py --model FOLDER`.

Debian's `llama-perplexity` (`llama.cpp-tools-extra`, unpacked and started by chroot, see `debian_llama.py`) computes
the KL of a quantised file from the F32 file of the same model, over a text. The proof computes it from transformers'
model, by another build of llama.cpp. Over the same tokens of the same text both are to come to the same, within 5 %.

Types of eight bits are left out: what is apart in them is mostly how a build rounds what it multiplies with, and two
builds of llama.cpp differ by as much (SmolLM2's Q8_0: 0.0051 and 0.0046).

Printed are both by type; the end is an error where they are further apart. Needs root, and an apt of Debian's.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import debian_llama  # noqa: E402

from tunesmith.gguf import FileType, write_gguf  # noqa: E402
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer  # noqa: E402
from tunesmith.spec.training import TrainSpec  # noqa: E402
from tunesmith_jobs.models.gguf_proof import asked  # noqa: E402
from tunesmith_jobs.models.gguf_proof.checks import difference  # noqa: E402
from tunesmith_jobs.models.gguf_proof.reference import Reference  # noqa: E402

TEXT = Path(__file__).parents[2] / "platform" / "guide" / "en" / "package.md"
CHUNK = 256
"""Tokens of a piece; the second half of each is looked at, as `llama-perplexity` does."""
APART = 0.05
_SAID = re.compile(r"Mean\s+KLD:\s+([0-9.]+)")


def by_debian(root: Path, base: Path, file: Path, chunks: int, threads: int) -> float:
    """What `llama-perplexity` makes of a file beside its F32.

    Raises:
        SystemExit: It fails; with what it said.
    """
    logits = f"/tmp/{base.stem}.kld"
    text = debian_llama.placed(root, TEXT)
    common = ["-f", text, "-c", str(CHUNK), "-b", str(CHUNK), "--chunks", str(chunks), "-t", str(threads)]
    if not (root / logits.lstrip("/")).is_file():
        _said(root, ["-m", debian_llama.placed(root, base), *common, "--kl-divergence-base", logits])
    words = _said(
        root,
        ["-m", debian_llama.placed(root, file), *common, "--kl-divergence-base", logits, "--kl-divergence"],
    )
    found = _SAID.search(words)
    if found is None:
        raise SystemExit(f"`llama-perplexity` says no KL:\n{words[-2000:]}")
    return float(found[1])


def _said(root: Path, arguments: list[str]) -> str:
    command = debian_llama.command(root, "llama-perplexity", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`llama-perplexity` failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout + done.stderr


def main() -> None:
    """Compare, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--model", type=Path, required=True)
    given.add_argument("--debian", type=Path, help="Where it is unpacked.")
    given.add_argument("--types", default="Q4_K_M,Q4_0")
    given.add_argument("--chunks", type=int, default=6)
    given.add_argument("--threads", type=int, default=2)
    wish = given.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            root = debian_llama.unpacked(wish.debian or folder / "debian")
        except debian_llama.NotHere as error:
            raise SystemExit(str(error)) from error
        print(f"debian: {debian_llama.version(root)}")
        tokenizer = load_tokenizer(wish.model)
        ids = tokenizer.encode(TEXT.read_text(encoding="utf-8"), add_special_tokens=False).ids
        pieces = [ids[begin : begin + CHUNK] for begin in range(0, CHUNK * wish.chunks, CHUNK)]
        assert all(len(piece) == CHUNK for piece in pieces), "the text is too short"
        training = TrainSpec.read({"model_name_or_path": str(wish.model), "train_file": "-"})
        reference = Reference(wish.model, None, training)
        # The first half gives what is looked at its context; behind the last token nothing comes.
        seen = slice(CHUNK // 2, CHUNK - 1)
        right = [reference.logits(piece)[seen] for piece in pieces]
        base = write_gguf(wish.model, folder / "base-F32.gguf", FileType.F32).path
        far = []
        for kind in map(FileType, wish.types.split(",")):
            file = write_gguf(wish.model, folder / f"{kind}.gguf", kind).path
            logits = folder / "logits"
            question = asked.Question(
                model=str(file), sequences=pieces, logits=str(logits), threads=wish.threads
            )
            answer = asked.ask(question, 3600)
            assert isinstance(answer, asked.Answer), answer
            made = [one[seen] for one in asked.logits_of(logits, pieces, answer.facts.words)]
            ours = difference(right, made).kl_mean
            theirs = by_debian(root, base, file, wish.chunks, wish.threads)
            apart = abs(ours / theirs - 1)
            far += [kind] if apart > APART else []
            count = sum(len(one) for one in right)
            print(
                f"{kind:7} KL {ours:.5f} by the proof, {theirs:.5f} by llama-perplexity: "
                f"{apart:.1%} apart ({count} tokens)"
            )
            file.unlink()
        (root / "tmp" / f"{base.stem}.kld").unlink(missing_ok=True)
        if far:
            raise SystemExit(f"Further apart than {APART:.0%}: {', '.join(far)}")


if __name__ == "__main__":
    main()

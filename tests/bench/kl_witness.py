"""A second witness of how far a file is from the model: `python tests/bench/kl_witness.py --model FOLDER`.

Debian's `llama-perplexity` (`llama.cpp-tools-extra`, unpacked and started by chroot, see `debian_llama.py`) computes
the KL of a quantised file from the F32 file of the same model, over the guide's pages. The proof computes it from
transformers' model, by another build of llama.cpp. Over the same tokens both are to come to the same, within 5 %.

What could lie between them is measured besides, for each type:

- `kept in 16 bits`: the proof's logits against the base as `llama-perplexity` keeps it, in 16 bits a word;
- `by one build`: Debian's logits of the file against Debian's of the model, summed as the proof does: what its sum
  adds, which is to be nothing;
- `weights alone`: the file's weights written out as F32, so that what they are multiplied with is not rounded;
- `build from build`: how far the two builds are from each other on the very same file.

In eight bits most of the difference is no matter of the weights: llama.cpp rounds what it multiplies them with to
eight bits too, and two builds that add in another order round otherwise. SmolLM2's Q8_0 is 0.0045 from the model, its
weights alone 0.0011; one build is 0.0035 from the other on the same file. What the 16 bits add is nothing (0.00452 for
0.00451). So both means are uncertain, as `llama-perplexity` says by its `±`: over 762 tokens of two texts they were
seen 2.8 % and 9.9 % apart, over 3048 tokens 3.1 %. So many tokens are taken.

The end is an error where they are further apart. Needs root, and an apt of Debian's.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1])]

import debian_llama  # noqa: E402
import gguf_faults  # noqa: E402

from tunesmith.gguf import FileType, write_gguf  # noqa: E402
from tunesmith.removal import discard_file  # noqa: E402
from tunesmith.rows.tokens.tokenizer_file import load_tokenizer  # noqa: E402
from tunesmith.spec.training import TrainSpec  # noqa: E402
from tunesmith_jobs.models.gguf_proof import asked  # noqa: E402
from tunesmith_jobs.models.gguf_proof.checks import difference  # noqa: E402
from tunesmith_jobs.models.gguf_proof.reference import Reference  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAGES = Path(__file__).parents[2] / "platform" / "guide" / "en"
CHUNK = 256
"""Tokens of a piece; the second half of each is looked at, as `llama-perplexity` does."""
SEEN = slice(CHUNK // 2, CHUNK - 1)
"""The first half gives what is looked at its context; behind the last token nothing comes."""
APART = 0.05
SUMMED = 0.01
"""Of the same logits both sum the same, but for what 16 bits a word lose."""
LEAST = -16.0
"""Words that are less likely, as a logarithm, `llama-perplexity` leaves out."""
_SAID = re.compile(r"Mean\s+KLD:\s+([0-9.]+) ±\s+([0-9.]+)")
_MAGIC = b"_logits_"


class Debian(NamedTuple):
    """`llama-perplexity`, and what it is given."""

    root: Path
    text: Path
    chunks: int
    threads: int

    def keep(self, file: Path) -> Path:
        """Let it compute a file's log-probabilities; where it kept them."""
        inside = f"/tmp/{file.stem}.kld"
        discard_file(self.root / inside.lstrip("/"))
        self._run(file, "--kl-divergence-base", inside)
        return self.root / inside.lstrip("/")

    def difference(self, file: Path, base: Path) -> tuple[float, float]:
        """The KL that it says, and how uncertain that is.

        Raises:
            SystemExit: It says none.
        """
        words = self._run(file, "--kl-divergence-base", f"/tmp/{base.name}", "--kl-divergence")
        found = _SAID.search(words)
        if found is None:
            raise SystemExit(f"`llama-perplexity` says no KL:\n{words[-2000:]}")
        return float(found[1]), float(found[2])

    def _run(self, file: Path, *more: str) -> str:
        sizes = ["-c", str(CHUNK), "-b", str(CHUNK), "--chunks", str(self.chunks), "-t", str(self.threads)]
        text = debian_llama.placed(self.root, self.text)
        arguments = ["-m", debian_llama.placed(self.root, file), "-f", text, *sizes, *more]
        command = debian_llama.command(self.root, "llama-perplexity", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"`llama-perplexity` failed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout + done.stderr


def kept(file: Path, pieces: Sequence[Sequence[int]]) -> "Iterator[NDArray[np.float32]]":
    """The log-probabilities that it kept, of each piece (tokens x words), each row with a scale of its own."""
    import numpy as np

    with file.open("rb") as stream:
        assert stream.read(len(_MAGIC)) == _MAGIC
        size, words, count = np.frombuffer(stream.read(12), np.int32)
        tokens = np.frombuffer(stream.read(4 * int(size) * int(count)), np.int32)
        assert tokens.tolist() == [token for piece in pieces for token in piece], "it cuts the text otherwise"
        width, rows = 2 * ((int(words) + 1) // 2) + 4, SEEN.stop - SEEN.start
        for _ in pieces:
            raw = np.frombuffer(stream.read(2 * width * rows), np.uint16).reshape(rows, width)
            scale, least = np.ascontiguousarray(raw[:, :4]).view(np.float32).T
            yield scale[:, None] * raw[:, 4 : 4 + words] + least[:, None]


def likely(logits: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """As log-probabilities."""
    import numpy as np

    found = logits.astype(np.float64)
    found -= found.max(-1, keepdims=True)
    return found - np.log(np.exp(found).sum(-1, keepdims=True))


def apart(one: "NDArray[np.float64]", other: "NDArray[np.float64]") -> float:
    """The mean KL of some rows as `llama-perplexity` sums it."""
    import numpy as np

    return float(np.where(one > LEAST, np.exp(one) * (one - other), 0).sum(-1).mean())


def written_out(fields: gguf_faults.Fields, tensors: gguf_faults.Tensors) -> None:
    """Every matrix as the numbers that its blocks stand for."""
    from gguf import GGMLQuantizationType, quants

    for name, (data, kind) in tensors.items():
        tensors[name] = quants.dequantize(data, kind), GGMLQuantizationType.F32


def main() -> None:
    """Compare, and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--model", type=Path, required=True)
    given.add_argument("--debian", type=Path, help="Where it is unpacked.")
    given.add_argument("--types", default="Q8_0,Q4_K_M,Q4_0")
    given.add_argument("--chunks", type=int, default=24)
    given.add_argument("--threads", type=int, default=2)
    wish = given.parse_args()
    model: Path = wish.model
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            root = debian_llama.unpacked(wish.debian or folder / "debian")
        except debian_llama.NotHere as error:
            raise SystemExit(str(error)) from error
        print(f"debian: {debian_llama.version(root)}")
        text = folder / "witness.txt"
        text.write_text("\n".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.md"))))
        ids = load_tokenizer(model).encode(text.read_text(), add_special_tokens=False).ids
        pieces = [ids[begin : begin + CHUNK] for begin in range(0, CHUNK * wish.chunks, CHUNK)]
        assert all(len(piece) == CHUNK for piece in pieces), "the text is too short"
        reference = Reference(
            model, None, TrainSpec.read({"model_name_or_path": str(model), "train_file": "-"})
        )
        right = [reference.logits(piece)[SEEN].copy() for piece in pieces]
        del reference

        def computed(file: Path) -> "list[NDArray[np.float32]]":
            logits = folder / f"{file.stem}.logits"
            question = asked.Question(
                model=str(file), sequences=pieces, logits=str(logits), threads=wish.threads
            )
            answer = asked.ask(question, 3600)
            assert isinstance(answer, asked.Answer), answer
            found = [one[SEEN] for one in asked.logits_of(logits, pieces, answer.facts.words)]
            discard_file(logits)  # it lies there for as long as it is open
            return found

        debian = Debian(root, text, wish.chunks, wish.threads)
        base = debian.keep(write_gguf(model, folder / "base-F32.gguf", FileType.F32).path)
        far: list[str] = []
        for kind in map(FileType, wish.types.split(",")):
            file = write_gguf(model, folder / f"{kind}.gguf", kind).path
            made = computed(file)
            ours = difference(right, made).kl_mean
            theirs, uncertain = debian.difference(file, base)
            between = abs(ours / theirs - 1)
            far += [kind] if between > APART else []
            count = sum(map(len, right))
            print(
                f"{kind:7} KL {ours:.5f} by the proof, {theirs:.5f} ± {uncertain:.5f} by llama-perplexity: "
                f"{between:.1%} apart ({count} tokens)",
                flush=True,
            )
            of_made = [likely(one) for one in made]
            in_16 = [apart(one.astype("f8"), q) for one, q in zip(kept(base, pieces), of_made, strict=True)]
            other = debian.keep(file)
            builds = [apart(q, one.astype("f8")) for one, q in zip(kept(other, pieces), of_made, strict=True)]
            one_build = sum(
                apart(one.astype("f8"), q.astype("f8"))
                for one, q in zip(kept(base, pieces), kept(other, pieces), strict=True)
            ) / len(pieces)
            far += [f"{kind} by one build"] if abs(one_build / theirs - 1) > SUMMED else []
            discard_file(other)
            del made, of_made
            alone = computed(gguf_faults.rewritten(file, folder / f"{kind}-out.gguf", written_out))
            weights = difference(right, alone).kl_mean
            print(
                f"        kept in 16 bits {sum(in_16) / len(in_16):.5f}, by one build {one_build:.5f}, "
                f"weights alone {weights:.5f}, build from build {sum(builds) / len(builds):.5f}",
                flush=True,
            )
            for one in (file, folder / f"{kind}-out.gguf"):
                discard_file(one)
        discard_file(base)
        if far:
            raise SystemExit(f"Further apart than {APART:.0%}: {', '.join(far)}")


if __name__ == "__main__":
    main()

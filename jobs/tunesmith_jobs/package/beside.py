"""The texts that lie beside a package's files: proofs, Modelfiles, notes, the card.

Knows orders and proofs; writes no weights.
"""

from collections.abc import Sequence
from pathlib import Path

from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.card import gguf_card
from tunesmith_jobs.models.gguf_proof.proof import PROOF_FILE, Proof
from tunesmith_jobs.package.files import Order
from tunesmith_jobs.package.texts import called, lay_licenses, license_of

SPLIT_NOTE = """# {whole}

In {count} files: keep them beside each other and give llama.cpp the first, `llama-server -m {first}`.

To have one file of them: `llama-gguf-split --merge {first} {whole}`. Ollama takes none that is split.
"""
LORA_NOTE = """# {lora}

The adapter alone, for llama.cpp: it is laid over a GGUF file of its base.

```
llama-server -m BASE.gguf --lora {lora}
```

Ollama takes no adapters (since 0.34.1 it refuses `ADAPTER` in a Modelfile): give it the merged model.
"""


def write_beside(
    work: Work,
    target: Path,
    made: Sequence[tuple[Order, Proof]],
    template: str | None,
    *,
    is_adapter: bool,
    matrix: str | None = None,
) -> None:
    """Write the texts of a package, for the files of it that are offered.

    Args:
        work: The packaging.
        target: The folder with the files.
        made: What was ordered, with what was proven of it.
        template: The chat template; None where the model has none.
        is_adapter: Whether the model is an adapter over a base.
        matrix: What the importance matrix of quantised files was computed of.

    Raises:
        OSError: The disk does not take them.
    """
    offered = [(order, proof) for order, proof in made if proof.verdict != "failed"]
    for order, proof in offered:
        (target / f"{order.name}.{PROOF_FILE}").write_text(proof_text(proof), encoding="utf-8")
        if order.is_lora:
            note = LORA_NOTE.format(lora=order.name)
            (target / f"{order.name}.md").write_text(note, encoding="utf-8")
        elif len(proof.names) > 1:
            note = SPLIT_NOTE.format(first=proof.file, count=len(proof.names), whole=order.name)
            (target / f"{order.name}.md").write_text(note, encoding="utf-8")
        elif order.with_adapter or not is_adapter:
            text = modelfile(order.name, template)
            (target / f"{order.name}.Modelfile").write_text(text, encoding="utf-8")
    lay_licenses(work, target)
    document = work.document
    card = gguf_card(
        document.origin,
        work.training,
        title=called(document),
        step=document.step,
        base_license=license_of(document),
        files=[(proof.file, proof.sentence["en"]) for _, proof in offered],
        matrix=matrix,
    )
    (target / "README.md").write_text(card, encoding="utf-8")


def modelfile(name: str, template: str | None) -> str:
    """What Ollama reads beside a whole model's file. It takes the chat template out of the file itself."""
    note = "" if template else "# The model has no chat template: it goes on with a text.\n"
    return f"{note}FROM ./{name}\n"


def proof_text(proof: Proof) -> str:
    """A proof as its file has it."""
    return proof.model_dump_json(indent=1) + "\n"

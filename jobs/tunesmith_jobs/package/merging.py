"""A model as a folder that stands by itself: weights with the adapter merged into its base, tokenizer, chat template,
generation settings, a card, and the sums of all of it.

Knows the trainer's own merge and the artifact store; knows nothing of who asks.
"""

import json
import re
import shutil
from pathlib import Path

import yaml

from tunesmith.artifacts import FINAL_MODEL
from tunesmith.events import Phase
from tunesmith.lifecycle import Reason
from tunesmith.model_folder import ADAPTER_CONFIG, license_name
from tunesmith.removal import remove_own
from tunesmith.rows.chat.prompts import PromptEncoder
from tunesmith.rows.chat.template import find_template, template_of
from tunesmith.spec.package import PackageSpec
from tunesmith_jobs.artifact_store import ArtifactStore, Owner, link_or_copy
from tunesmith_jobs.failures import StorageFailed
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models import build as models
from tunesmith_jobs.models.loading import at_hand
from tunesmith_jobs.models.merge import merge
from tunesmith_jobs.models.reading import lay_out
from tunesmith_jobs.train.core import Outcome

_LICENSES = ("LICENSE*", "NOTICE*", "COPYING*")
_GENERATION = "generation_config.json"
_LICENSE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
_ALL = 2**31 - 1

_CARD = """---
{head}---
# {title}

Made by Tunesmith from {made_of}.

| | |
|---|---|
{facts}

```python
from transformers import {kind}, AutoTokenizer
model, tokenizer = {kind}.from_pretrained("."), AutoTokenizer.from_pretrained(".")
```

`manifest.json` names every file with its size and sha256.
"""


def package(work: Work, spec: PackageSpec) -> Outcome:
    """Write the folder, and bring it to the storage.

    Raises:
        InvalidModel: The model cannot be loaded, or is no model in safetensors.
        InvalidInput: The adapter does not fit its base.
        StorageFailed: The storage did not take it.
    """
    document, training = work.document, work.training
    assert document.artifact_uri is not None
    work.scratch.mkdir(parents=True, exist_ok=True)
    weights = at_hand(document.model_uri, work.scratch / "given")
    target = work.scratch / FINAL_MODEL
    target.mkdir()
    is_adapter = (weights / ADAPTER_CONFIG).is_file()
    if is_adapter:
        merge(
            weights,
            Path(training.model_name_or_path),
            target,
            training,
            document.classes or None,
            check=work.check,
            activities=work.outlet.activities,
        )
    else:
        lay_out(weights, target, link_or_copy)
    work.phase_done(Phase.WEIGHTS)
    template_sha256 = _write_texts(work, target)
    _write_card(work, target, is_merged=is_adapter)
    for pattern in _LICENSES:
        for file in Path(document.encoder_path).glob(pattern):
            if file.is_file():
                shutil.copyfile(file, target / file.name)
    files = sum(1 for file in target.rglob("*") if file.is_file()) + 1
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    work.check()
    owner = Owner(document.task_id, document.attempt, document.origin.base, template_sha256)
    store = ArtifactStore(
        document.artifact_uri,
        owner,
        Path(document.output_dir) if document.output_dir else None,
        activities=work.outlet.activities,
    )
    try:
        _, uri = store.put(target, FINAL_MODEL, document.step, kind="model")
    except OSError as error:
        raise StorageFailed(f"The model could not be stored: {error}") from error
    how = "The adapter is merged into its base" if is_adapter else "The model was whole already"
    words = f"{how}: {files} files, {size / 1e6:.1f} MB, in `{uri}`."
    for place in store.not_shown:
        words += f" Nothing was published at `{place}`: something stands there that this task did not make."
    return Outcome.because(Reason.COMPLETED, words).model_copy(update={"model_uri": uri})


def _write_texts(work: Work, target: Path) -> str | None:
    """Lay the tokenizer and the chat template beside the weights; returns the template's sha256."""
    document, training = work.document, work.training
    source, own = Path(document.encoder_path), document.tokenizer_path
    is_chat = training.training_type == "sft" and (
        training.chat_template is not None or any(map(find_template, (source, Path(own or source))))
    )
    if not is_chat:
        models.copy_tokenizer(Path(own or source), target)
        return None
    template = template_of(source, tokenizer=own, chat_template=training.chat_template)
    models.copy_tokenizer(Path(own or source), target, template.source)
    encoder = PromptEncoder.from_folder(source, _ALL, tokenizer=own, chat_template=training.chat_template)
    _let_answers_end(target, encoder.end_of_answer())
    return template.sha256


def _let_answers_end(target: Path, mark: int | None) -> None:
    """Let `generate` stop where the model was trained to stop, which its base may not know."""
    file = target / _GENERATION
    settings = json.loads(file.read_bytes()) if file.is_file() else {}
    given = settings.get("eos_token_id")
    known = given if isinstance(given, list) else [] if given is None else [given]
    if mark is not None and mark not in known:
        settings["eos_token_id"] = [*known, mark] if known else mark
        # A hard link would be changed with what it is linked to.
        remove_own(file)
        file.write_text(json.dumps(settings, indent=2) + "\n")


def _write_card(work: Work, target: Path, *, is_merged: bool) -> None:
    document, training = work.document, work.training
    origin = document.origin
    # The folder is passed on: where its base lay on this machine helps nobody, and tells of the machine.
    base = Path(origin.base).name if Path(origin.base).is_absolute() else origin.base
    head: dict[str, object] = {"library_name": "transformers", "base_model": base}
    is_classifier = training.training_type == "classification"
    head["pipeline_tag"] = "text-classification" if is_classifier else "text-generation"
    named = license_name(Path(document.encoder_path))
    if named and _LICENSE_ID.fullmatch(named):
        head["license"] = named
    elif named:
        head |= {"license": "other", "license_name": named}
    facts = [("Base model", f"`{base}`")]
    if origin.task_id:
        facts.append(("Training task", f"`{origin.task_name}` (`{origin.task_id}`), step {document.step}"))
        facts.append(
            ("Kind of training", f"`{training.training_type}`" + (", LoRA, merged" if is_merged else ""))
        )
    if origin.datasets:
        facts.append(("Data sets", ", ".join(f"`{name}`" for name in origin.datasets)))
    facts.append(("License of the base", named or "not named by its files"))
    made_of = f"the training task `{origin.task_name}`" if origin.task_name else f"`{base}`"
    card = _CARD.format(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        title=origin.task_name or document.name,
        made_of=made_of,
        facts="\n".join(f"| {name} | {value.replace('|', '/')} |" for name, value in facts),
        kind="AutoModelForSequenceClassification" if is_classifier else "AutoModelForCausalLM",
    )
    # A whole model's folder has a card of its own, linked: it is not to be changed.
    remove_own(target / "README.md")
    (target / "README.md").write_text(card, encoding="utf-8")

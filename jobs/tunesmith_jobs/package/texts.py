"""What lies beside a packaged model's weights: tokenizer, chat template, generation settings. Knows no weights."""

import shutil
from pathlib import Path

from tunesmith.model_folder import license_name
from tunesmith.model_step import ModelDocument
from tunesmith.rows.chat.template import ChatTemplate, template_of
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models import build as models
from tunesmith_jobs.models.generation_settings import end_of_answers, is_chat, write_generation
from tunesmith_jobs.models.older_readers import write_for_older_readers

_LICENSES = ("LICENSE*", "NOTICE*", "COPYING*", "USE_POLICY*")


def called(document: ModelDocument) -> str:
    """What a package is called: as its user says, or as the task that trained the model."""
    return str(document.spec.get("model_name") or document.origin.task_name or document.name)


def license_of(document: ModelDocument) -> str | None:
    """The license of what a model was made of, as its files name it."""
    return document.origin.license or license_name(Path(document.encoder_path))


def lay_licenses(work: Work, target: Path) -> None:
    """Lay the base's license texts and notices beside a package: whoever passes it on passes them on."""
    for folder in (Path(work.document.encoder_path), Path(work.training.model_name_or_path)):
        for pattern in _LICENSES:
            for file in sorted(folder.glob(pattern)):
                if file.is_file() and not (target / file.name).exists():
                    shutil.copyfile(file, target / file.name)


def lay_texts(work: Work, target: Path) -> ChatTemplate | None:
    """Lay the tokenizer, the chat template and the generation settings into a folder; returns the template."""
    document, training = work.document, work.training
    source, own = Path(document.encoder_path), document.tokenizer_path
    tokenizer = Path(own) if own else None
    template = None
    if is_chat(training, source, tokenizer):
        template = template_of(source, tokenizer=own, chat_template=training.chat_template)
    models.copy_tokenizer(tokenizer or source, target, template and template.source)
    write_generation(target, source, end_of_answers(training, source, tokenizer))
    return template


def lay_model_texts(work: Work, target: Path) -> str | None:
    """As `lay_texts`, beside a model's weights; returns the template's sha256."""
    template = lay_texts(work, target)
    write_for_older_readers(target)
    return template and template.sha256

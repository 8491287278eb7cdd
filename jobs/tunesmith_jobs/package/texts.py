"""What lies beside a packaged model's weights: tokenizer, chat template, generation settings. Knows no weights."""

from pathlib import Path

from tunesmith.rows.chat.template import ChatTemplate, template_of
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models import build as models
from tunesmith_jobs.models.generation_settings import end_of_answers, is_chat, write_generation
from tunesmith_jobs.models.older_readers import write_for_older_readers


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

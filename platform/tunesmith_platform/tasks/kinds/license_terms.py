"""What the license of a base asks of who packages a model of it: told before the start, and refused unless accepted.

Knows found models and the table of terms; reads no license itself.
"""

from tunesmith.errors import InvalidInput, InvalidModel
from tunesmith.model_folder import Terms, terms_of
from tunesmith.spec.base import Notice
from tunesmith.spec.package import PackageSpec
from tunesmith_platform.sandbox import checks
from tunesmith_platform.tasks.kinds.resolve_model import FoundModel


def license_of(found: FoundModel) -> str | None:
    """The license that the files of a model name, of its base or of the model that it was trained from.

    A model that was trained from another holds no license of its own: what it was made of decides.
    """
    for folder in dict.fromkeys((found.started_from, found.base, found.encoder)):
        if folder is None:
            continue
        try:
            facts = checks.model_facts(folder, needs_tokenizer=False)
        except InvalidModel:
            continue  # told of by who needs the model itself
        if facts.license:
            return facts.license
    return None


def terms_told(spec: PackageSpec, found: FoundModel, task_name: str | None) -> list[Notice]:
    """What is said of the license; nothing of one that lets a package be passed on.

    Raises:
        InvalidInput: It does not let a package be passed on as one likes, and nobody accepted it.
    """
    name = license_of(found)
    terms = terms_of(name)
    sentence = terms.sentence(name)
    if terms.must_be_accepted and not spec.accept_license:
        raise InvalidInput(
            sentence,
            hint="Read it. To make the package all the same, for what it allows: `accept_license: true`.",
            field="accept_license",
        )
    if not terms.is_shown:
        return []
    return [Notice(field="accept_license", message=sentence), *_name_told(spec, terms, found, task_name)]


def _name_told(spec: PackageSpec, terms: Terms, found: FoundModel, task_name: str | None) -> list[Notice]:
    called = spec.model_name or found.origin.task_name or task_name or ""
    if terms.must_begin is None or called.lower().startswith(terms.must_begin.lower()):
        return []
    message = (
        f"The files are called `{called}`; to be passed on, a name that begins with `{terms.must_begin}` is asked for: "
        "set `model_name`."
    )
    return [Notice(field="model_name", message=message)]

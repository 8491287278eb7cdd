"""Scorers of a user's own: a pattern, words, a text or a JSON schema, told in YAML; or an installed package's function.

A pattern or a schema that takes for ever, or all the memory, ends the process that looks at it and nothing else
(`custom_child`). Functions come from installed packages that the administrator lists, never from a path.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tunesmith.errors import InvalidInput, shortened
from tunesmith.evaluation.results import Answer, Sample
from tunesmith.evaluation.scores.checks import NAMES
from tunesmith.evaluation.scores.custom_child import ChildLookup
from tunesmith.evaluation.scores.info import INFO
from tunesmith.evaluation.scores.scoring import Scorer
from tunesmith.evaluation.scores.text import joined, names
from tunesmith.spec.problems import did_you_mean, invalid_input
from tunesmith.yaml_text import holds_aliases, load_yaml

GROUP = "tunesmith.scorers"
"""The group of entry points in which packages offer scorers: functions of a sample and an answer."""
MOST_CHARACTERS = 64 * 1024
MOST_SCORERS = 50
SECONDS = 1.0
"""Processor time that a pattern or a schema may take for one answer."""

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class _Scorer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name = Field(description="What the score is called: small letters, digits and `_`.")
    samples: Literal["all", "named"] = Field(
        "all", description="`named`: it scores only samples whose `checks` name it."
    )


class RegexScorer(_Scorer):
    """1 where a pattern of Python's `re` is found in the answer, else 0."""

    kind: Literal["regex"]
    pattern: _Text
    match: Literal["anywhere", "whole"] = Field(
        "anywhere", description="Whether the whole answer must match."
    )
    ignore_case: bool = False
    negate: bool = Field(False, description="1 where it is not found.")


class ContainsScorer(_Scorer):
    """1 where the answer has words or phrases; Latin ones are meant whole, capitals and wide forms do not count."""

    kind: Literal["contains"]
    words: tuple[_Text, ...] = Field(min_length=1, max_length=100)
    need: Literal["all", "any", "none", "share"] = Field(
        "all", description="How many of them: `share` scores the share that the answer has."
    )


class EqualsScorer(_Scorer):
    """1 where the answer is a text, or the sample's reference, but for capitals, wide forms and spaces around it."""

    kind: Literal["equals"]
    value: _Text | None = Field(None, description="The text; the sample's reference answer when empty.")


class SchemaScorer(_Scorer):
    """1 where the answer is JSON, alone or in a code block, and a JSON schema takes it; else 0."""

    kind: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(
        alias="schema", description="The schema; it may point only into itself."
    )


class InstalledScorer(_Scorer):
    """What a function of an installed package says, in [0, 1]: `function(sample, answer)`."""

    kind: Literal["installed"]
    scorer: _Text = Field(
        description=f"The name of an entry point in `{GROUP}` that the administrator lists."
    )


CustomScorer = RegexScorer | ContainsScorer | EqualsScorer | SchemaScorer | InstalledScorer


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    scorers: tuple[Annotated[CustomScorer, Field(discriminator="kind")], ...] = Field(
        min_length=1, max_length=MOST_SCORERS
    )

    @model_validator(mode="after")
    def _names_of_their_own(self) -> Self:
        seen: set[str] = set()
        for one in self.scorers:
            if one.name in INFO or one.name in NAMES:
                raise ValueError(f"`{one.name}` is the name of a score or a check of ours; choose another")
            if one.name in seen:
                raise ValueError(f"`{one.name}` is given twice")
            seen.add(one.name)
        return self


def read_scorers(text: str) -> tuple[CustomScorer, ...]:
    """The scorers of a YAML file, `scorers: [{name, kind, ...}]`. Patterns and schemas are not looked at yet.

    Raises:
        InvalidInput: It is no YAML, or not of this form; with every problem and its place.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"A file of scorers has at most {MOST_CHARACTERS} characters.")
    try:
        if holds_aliases(text):
            raise InvalidInput(
                "A file of scorers holds no YAML aliases (`*name`).", hint="Write the values out."
            )
        data = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = " ".join(str(error).split())[:300] if str(error) else "it is nested too deeply"
        raise InvalidInput(f"The file of scorers cannot be read as YAML: {where}.") from error
    if not isinstance(data, dict):
        raise InvalidInput("A file of scorers is a mapping.", hint="It begins with `scorers:`.")
    try:
        # Dates and other values that YAML has and JSON has not would fail later, in a schema.
        plain = json.loads(json.dumps(data))
        return _File.model_validate(plain).scorers
    except ValidationError as error:
        raise invalid_input(error, _File) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            "The file of scorers holds a value that JSON has not, as a date.",
            hint="Put it in quotation marks.",
        ) from error


class CustomScorers:
    """Scorers that can be asked. Close it, or use it in a `with`: it may hold a process.

    Args:
        scorers: As `read_scorers` gives them.
        allowed: Names of entry points that the administrator lists.
        seconds: Processor time that a pattern or a schema may take for one answer.
    """

    def __init__(
        self, scorers: Sequence[CustomScorer], allowed: Collection[str] = (), seconds: float = SECONDS
    ) -> None:
        self.definitions = tuple(scorers)
        looked_up = [one for one in scorers if isinstance(one, RegexScorer | SchemaScorer)]
        self._lookup = ChildLookup([one.model_dump(by_alias=True) for one in looked_up], seconds)
        self._version: dict[str, str] = {}
        self.scorers: Mapping[str, Scorer] = {
            one.name: self._scorer(one, looked_up, allowed) for one in scorers
        }
        """Each scorer by its name, for `ScoreOptions.custom`."""
        self.named_only = frozenset(one.name for one in scorers if one.samples == "named")
        """For `ScoreOptions.named_only`."""

    @property
    def version(self) -> str:
        """Changes when the definition of a scorer does, or the version of a package that one comes from."""
        told = [[one.model_dump_json(by_alias=True), self._version.get(one.name)] for one in self.definitions]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def check(self) -> None:
        """Look at every pattern and schema.

        Raises:
            InvalidInput: One of them is none, or takes too long to read.
        """
        for number, problem in enumerate(self._lookup.problems()):
            if problem is not None:
                one = self._lookup.definitions[number]
                raise InvalidInput(
                    f"The scorer `{one['name']}` cannot be used: {problem}",
                    field=f"scorers.{one['name']}.{'pattern' if one['kind'] == 'regex' else 'schema'}",
                )

    def close(self) -> None:
        """End the process, if there is one."""
        self._lookup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def _scorer(
        self, one: CustomScorer, looked_up: Sequence[CustomScorer], allowed: Collection[str]
    ) -> Scorer:
        if isinstance(one, ContainsScorer):
            return partial(_contains, one)
        if isinstance(one, EqualsScorer):
            return partial(_equals, one)
        if isinstance(one, InstalledScorer):
            function, self._version[one.name] = _installed(one, allowed)
            return partial(_called, one.name, function)
        number = looked_up.index(one)
        return lambda _, answer: self._lookup.value(number, answer.text)


def _contains(one: ContainsScorer, _: Sample, answer: Answer) -> float:
    found = sum(names(answer.text, word) for word in one.words)
    if one.need == "share":
        return found / len(one.words)
    least, most = {"all": (len(one.words), len(one.words)), "any": (1, len(one.words)), "none": (0, 0)}[
        one.need
    ]
    return float(least <= found <= most)


def _equals(one: EqualsScorer, sample: Sample, answer: Answer) -> float:
    return float(joined(answer.text) == joined(sample.reference if one.value is None else one.value))


def _installed(one: InstalledScorer, allowed: Collection[str]) -> tuple[Any, str]:
    """An entry point's function, and the version of its package.

    Raises:
        InvalidInput: The administrator does not list it, or no installed package offers it.
    """
    place = f"scorers.{one.name}.scorer"
    if one.scorer not in allowed:
        meant = did_you_mean(one.scorer, allowed)
        raise InvalidInput(
            f"The scorer `{shortened(one.scorer)}` is not on the administrator's list.",
            field=place,
            hint=f"Did you mean `{meant}`?" if meant else "Ask the administrator to add it.",
        )
    found = list(entry_points(group=GROUP, name=one.scorer))
    if len(found) != 1:
        raise InvalidInput(
            f"{len(found) or 'No'} installed packages offer the scorer `{shortened(one.scorer)}`.",
            field=place,
            hint=f"One package must offer it as an entry point in `{GROUP}`.",
        )
    try:
        function = found[0].load()
    except Exception as error:
        raise InvalidInput(
            f"The scorer `{shortened(one.scorer)}` cannot be loaded: {_told(error)}.", field=place
        ) from error
    if not callable(function):
        raise InvalidInput(f"The scorer `{shortened(one.scorer)}` is no function.", field=place)
    return function, found[0].dist.version if found[0].dist else ""


def _called(name: str, function: Any, sample: Sample, answer: Answer) -> float | str:
    try:
        value = function(sample, answer)
    except Exception as error:
        return f"The scorer `{name}` failed: {_told(error)}."
    if isinstance(value, bool | int | float) and math.isfinite(value) and 0 <= value <= 1:
        return float(value)
    return f"The scorer `{name}` gave no number from 0 to 1."


def _told(error: Exception) -> str:
    return shortened(" ".join(f"{type(error).__name__}: {error}".split()), 200).rstrip(".")

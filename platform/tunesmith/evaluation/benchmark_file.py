"""A benchmark of a user's own, as lm-eval writes it in YAML: read as plain values, so that it can name no program.

lm-eval runs what a YAML file points to: `!function` imports a module beside it, a metric that it does not know is a
program that it fetches, a data set's folder may hold one. So what is taken is a list of keys and values here, and is
handed to lm-eval as values, never as a file. Knows the file; knows nothing of lm-eval's code.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.errors import InvalidInput
from tunesmith.spec.benchmarks import BENCHMARK_NAME
from tunesmith.spec.problems import invalid_input
from tunesmith.yaml_text import holds_aliases, load_yaml

MOST_CHARACTERS = 64 * 1024
_Text = Annotated[str, Field(max_length=10_000)]
_Split = Annotated[str, Field(pattern=r"^\w{1,64}$")]
_Path = Annotated[str, Field(min_length=1, max_length=4096)]
_FUNCTION = "!function"
_ENDINGS = {"json": (".json", ".jsonl"), "csv": (".csv",), "parquet": (".parquet",)}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Files(_Part):
    """Where a benchmark's rows lie, beside its file or by their whole path."""

    data_files: _Path | dict[_Split, _Path]


class Metric(_Part):
    """What is measured, of lm-eval's own metrics."""

    metric: Literal[
        "acc", "acc_norm", "acc_bytes", "exact_match", "perplexity", "word_perplexity", "byte_perplexity",
        "bits_per_byte", "f1", "mcc", "bleu", "chrf", "ter", "brier_score",
    ]  # fmt: skip
    aggregation: (
        Literal[
            "mean", "median", "perplexity", "weighted_perplexity", "bits_per_byte", "f1", "matthews_corrcoef", "bleu",
            "chrf", "ter", "brier_score",
        ]
        | None
    ) = None  # fmt: skip
    higher_is_better: bool | None = None
    ignore_case: bool | None = None
    ignore_punctuation: bool | None = None


class Generation(_Part):
    """How an answer is made, of a benchmark whose answers are texts."""

    until: tuple[_Text, ...] | None = None
    max_gen_toks: int | None = Field(None, ge=1, le=8192)
    do_sample: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_k: int | None = Field(None, ge=0, le=1000)
    top_p: float | None = Field(None, gt=0, le=1)


class About(_Part):
    """What is said of a benchmark besides."""

    version: Annotated[str, Field(max_length=64)] | float | int = 0


class OwnBenchmark(_Part):
    """One benchmark over a file of rows; templates are Jinja over a row's columns, and are rendered in a sandbox."""

    task: Annotated[str, Field(pattern=f"^{BENCHMARK_NAME}$", description="What it is called.")]
    dataset_path: Literal["json", "csv", "parquet"]
    dataset_kwargs: Files
    output_type: Literal["multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling"] = (
        "generate_until"
    )
    training_split: _Split | None = None
    validation_split: _Split | None = None
    test_split: _Split | None = None
    fewshot_split: _Split | None = None
    doc_to_text: _Text | None = None
    doc_to_target: _Text | int | None = None
    doc_to_choice: _Text | tuple[_Text, ...] | None = None
    description: _Text | None = None
    target_delimiter: _Text | None = None
    fewshot_delimiter: _Text | None = None
    generation_kwargs: Generation | None = None
    metric_list: tuple[Metric, ...] | None = Field(None, min_length=1, max_length=20)
    num_fewshot: int | None = Field(None, ge=0, le=100)
    metadata: About | None = None

    @property
    def files(self) -> list[str]:
        """Where its rows lie, as it was written."""
        given = self.dataset_kwargs.data_files
        return [given] if isinstance(given, str) else list(given.values())

    def at(self, folder: Path) -> "OwnBenchmark":
        """It with whole paths.

        Args:
            folder: Where its own file lies.

        Raises:
            InvalidInput: A file's name does not end as its kind of file does.
        """
        for name in self.files:
            if not name.lower().endswith(_ENDINGS[self.dataset_path]):
                raise InvalidInput(
                    f"`{name}` is no file of the kind `{self.dataset_path}`.",
                    hint=f"Its name ends with {' or '.join(f'`{one}`' for one in _ENDINGS[self.dataset_path])}.",
                    field="dataset_kwargs.data_files",
                )
        given = self.dataset_kwargs.data_files
        whole: str | dict[str, str] = (
            str(folder / given)
            if isinstance(given, str)
            else {split: str(folder / name) for split, name in given.items()}
        )
        return self.model_copy(update={"dataset_kwargs": Files(data_files=whole)})

    def config(self) -> dict[str, Any]:
        """What lm-eval is handed: the values that were given, and no others."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return found


def read_benchmark(text: str) -> OwnBenchmark:
    """The benchmark of a YAML file.

    Raises:
        InvalidInput: It is no YAML, not of this form, or names a program; with every problem and its place.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"A benchmark's file has at most {MOST_CHARACTERS} characters.")
    try:
        if holds_aliases(text):
            raise InvalidInput(
                "A benchmark's file holds no YAML aliases (`*name`).", hint="Write the values out."
            )
        data = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if _FUNCTION in str(error):
            raise InvalidInput(
                "A benchmark's file names a function (`!function`): that is a program, and no user's file is run.",
                hint="Write `doc_to_text` and `doc_to_target` as Jinja templates over the row's columns.",
            ) from error
        where = " ".join(str(error).split())[:300] if str(error) else "it is nested too deeply"
        raise InvalidInput(f"The benchmark's file cannot be read as YAML: {where}.") from error
    if not isinstance(data, dict):
        raise InvalidInput("A benchmark's file is a mapping.", hint="It begins with `task:`.")
    try:
        # JSON has no dates: a value that YAML reads as one would fail later.
        return OwnBenchmark.model_validate(json.loads(json.dumps(data)))
    except ValidationError as error:
        raise invalid_input(error, OwnBenchmark) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            "The benchmark's file holds a value that JSON has not, as a date.",
            hint="Put it in quotation marks.",
        ) from error

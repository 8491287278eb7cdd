"""Which file of a model is the one for a machine: what is told of each, and what is recommended."""

import datetime as dt
from typing import Any

import pytest

from tunesmith.package_views import PackagedFileView, PackageView
from tunesmith_platform.packaging.which import memory_of, rows_of, which

FORECAST = {
    "sizes": {"F16": 1000, "Q8_0": 500, "Q4_K_M": 300, "Q2_K": 200},
    "cache_bytes": 10,
    "words": 8,
    "context": 64,
}
BESIDE = memory_of(0, 16, FORECAST)


def package(task: str, *files: dict[str, Any]) -> PackageView:
    given = {"bytes": 0, "sha256": "0", "verdict": "proven"}
    return PackageView(
        task_id=task,
        name=task,
        uri="/p",
        step=4,
        files=[
            PackagedFileView.model_validate(given | {"name": f"{task}-{one['type']}", **one}) for one in files
        ],
        created_at=dt.datetime(2026, 11, 30, tzinfo=dt.UTC),
    )


NEW = package(
    "new",
    {"type": "Q4_K_M", "bytes": 310, "kl_mean": 0.07, "top1": 0.9, "tokens_per_second": 50.0},
    {"type": "LoRA", "bytes": 5},
    {"type": "F16", "bytes": 1010, "verdict": "failed"},
)
OLD = package(
    "old",
    {"type": "Q4_K_M", "bytes": 311, "kl_mean": 0.08},
    {"type": "Q8_0", "bytes": 510, "kl_mean": 0.004, "top1": 0.98},
    {"type": "Q6_K", "bytes": 400, "verdict": "not_proven"},
)


def asked(limit: int | None, *packages: PackageView) -> Any:
    return which(rows_of(packages, FORECAST, 16, limit), 16, limit, FORECAST)


def test_every_type_is_there_once_the_newest_file_of_it_first() -> None:
    found = {row.type: row for row in asked(None, NEW, OLD).rows}
    assert list(found) == ["F16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K"], "the largest first, no adapter"
    assert (found["Q4_K_M"].file, found["Q4_K_M"].task_id) == ("new-Q4_K_M", "new")
    assert found["F16"].file is None, "what is not the model is no file of it"
    assert (found["Q2_K"].bytes, found["Q2_K"].fits) == (200, None)
    assert found["Q8_0"].memory_bytes == 510 + BESIDE


@pytest.mark.parametrize(
    ("limit", "file", "words"),
    [
        (None, "old-Q8_0", "among the proven files, 2 in all"),
        (520 + BESIDE, "old-Q8_0", "that fit"),
        (509 + BESIDE, "new-Q4_K_M", "that fit 0.03 GB, 1 in all"),
        (250 + BESIDE, None, "None of the proven files fits; the largest type that would fit is `Q2_K`"),
        (100, None, "Nothing of this model fits"),
    ],
)
def test_the_closest_that_fits_is_recommended(limit: int | None, file: str | None, words: str) -> None:
    found = asked(limit, NEW, OLD)
    assert found.recommended == file
    assert words in found.sentence["en"]
    assert found.sentence["zh"]
    assert file is None or file in found.sentence["zh"]


def test_of_two_that_are_as_close_the_smaller() -> None:
    close = package(
        "p",
        {"type": "Q6_K", "bytes": 400, "kl_mean": 0.0041},
        {"type": "Q8_0", "bytes": 500, "kl_mean": 0.0039},
    )
    assert asked(None, close).recommended == "p-Q6_K"


def test_nothing_was_made() -> None:
    assert "No proven file was made yet, and no limit" in asked(None).sentence["en"]
    assert "`F16`" in asked(10**9).sentence["en"]


SMOLLM2 = {"cache_bytes": 23_040, "words": 49_152}
"""SmolLM2-135M."""


@pytest.mark.parametrize(
    ("file_bytes", "context", "measured"),
    [(105_453_952, 4096, 265.8e6), (105_453_952, 512, 174.7e6), (270_885_760, 4096, 422.8e6)],
    ids=["Q4_K_M", "Q4_K_M, a short talk", "F16"],
)
def test_what_llama_server_held_of_a_real_model_is_told_within_a_tenth(
    file_bytes: int, context: int, measured: float
) -> None:
    """Resident memory of Debian's `llama-server` 0.7.0 with one slot, after a prompt of some hundred tokens."""
    assert memory_of(file_bytes, context, SMOLLM2) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("limit", "fits"), [(200_000_000, True), (100_000_000, False)])
def test_where_nothing_fits_a_shorter_context_that_would_is_named(limit: int, fits: bool) -> None:
    given = SMOLLM2 | {"sizes": {"Q4_K_M": 104_000_000, "F16": 270_000_000}, "context": 8192}
    found = which(rows_of([], given, 4096, limit), 4096, limit, given)
    assert "Nothing of this model fits" in found.sentence["en"]
    assert ("With a context of 1280 tokens `Q4_K_M` would." in found.sentence["en"]) == fits
    assert ("1280" in found.sentence["zh"]) == fits
    tokens = 1280
    assert memory_of(104_000_000, tokens, given) <= 200_000_000 < memory_of(104_000_000, tokens + 256, given)

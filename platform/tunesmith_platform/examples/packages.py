"""Packages."""

import datetime as dt
from typing import Any

from fastapi import Body

from tunesmith.package_views import (
    FilePartView,
    PackagedFileView,
    PackageLinkView,
    PackageSummary,
    PackageView,
    PruneVerdict,
    PruneView,
    WhichRow,
    WhichView,
)
from tunesmith.views import Page

PACKAGE = PackageView(
    task_id="task-0mzk3q8d1c5t7v9xyz",
    name="ember-package",
    uri="/data/artifacts/tasks/task-0mzk3q8d1c5t7v9xyz/artifacts/package",
    step=40,
    files=[
        PackagedFileView(
            name="ember-40-Q4_K_M.gguf",
            type="Q4_K_M",
            bytes=105_454_432,
            sha256="5c1e" * 16,
            verdict="proven",
            sentence={
                "en": "In llama.cpp `ember-40-Q4_K_M.gguf` computes what the model does, as closely as Q4_K_M holds "
                "it: over 792 tokens its next token differs by 0.075 nats (KL) on average, and the likeliest is the "
                "same in 88.1%."
            },
            kl_mean=0.075,
            kl_p99=0.41,
            top1=0.881,
            fallbacks={"Q4_K -> Q5_0": 180, "Q6_K -> Q8_0": 30},
        )
    ],
    others=[FilePartView(name="README.md", bytes=1204, sha256="0b7d" * 16)],
    created_at=dt.datetime(2026, 11, 30, 9, 30, tzinfo=dt.UTC),
)

WHICH = WhichView(
    context=4096,
    limit_bytes=400_000_000,
    recommended="ember-40-Q4_K_M.gguf",
    sentence={
        "en": "`ember-40-Q4_K_M.gguf` is the closest to the model among the proven files that fit 0.40 GB, 1 in "
        "all (about 0.27 GB at 4096 tokens): its next token differs by 0.075 nats and is the same in 88%; what that "
        "costs in your task, only an evaluation says."
    },
    rows=[
        WhichRow(type="Q8_0", bytes=144_811_072, memory_bytes=304_000_000, fits=True),
        WhichRow(
            type="Q4_K_M",
            bytes=105_454_432,
            file="ember-40-Q4_K_M.gguf",
            task_id="task-0mzk3q8d1c5t7v9xyz",
            memory_bytes=265_000_000,
            fits=True,
            is_proven=True,
            kl_mean=0.075,
            top1=0.881,
            tokens_per_second=54.0,
            measured_on="2 threads of AMD EPYC 9V74 80-Core Processor",
        ),
    ],
)

PACKAGE_LINK = PackageLinkView(
    url="https://tunesmith.example/v1/package-links/eyJ0Ijoi....8sLxQ/ember-40-Q4_K_M.gguf",
    name="ember-40-Q4_K_M.gguf",
    bytes=105_454_432,
    sha256="5c1e" * 16,
    expires_at=dt.datetime(2026, 12, 1, 9, 30, tzinfo=dt.UTC),
)


PACKAGES = Page[PackageSummary](
    data=[
        PackageSummary(
            task_id="task-0mzk3q8d1c5t7v9xyz",
            name="ember-package",
            project="default",
            of="ember",
            of_task_id="task-0mzk3q8d1c5t7v9abc",
            step=40,
            uri="/data/artifacts/tasks/task-0mzk3q8d1c5t7v9xyz/artifacts/package",
            bytes=105_460_000,
            files=4,
            is_pinned=False,
            created_at=dt.datetime(2026, 11, 30, 9, 30, tzinfo=dt.UTC),
        )
    ],
    has_more=False,
    next=None,
)
PRUNED = PruneView(
    is_dry=True,
    bytes=105_460_000,
    packages=[
        PruneVerdict(
            task_id="task-0mzk3q8d1c5t7v9xyz",
            name="ember-package",
            bytes=105_460_000,
            goes=True,
            why="3 newer ones of the same model, 41.0 days old",
        )
    ],
)


def prune_body() -> Any:
    """The body of a removal of old packages."""
    value = {"keep_last": 3, "dry_run": True}
    return Body(
        openapi_examples={"dry": {"summary": "What would go, with three of each kept", "value": value}}
    )


def package_link_body() -> Any:
    """The body of a new address."""
    value = {"file": "ember-40-Q4_K_M.gguf", "seconds": 3600}
    return Body(openapi_examples={"link": {"summary": "One file, for an hour", "value": value}})

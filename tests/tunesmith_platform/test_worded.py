"""Every answer of the API that may hold a sentence for people is put into the language of who asks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_platform import Plane
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tunesmith.language import Language, tr
from tunesmith_platform import routing, worded

OPENAPI = Path(__file__).resolve().parents[2] / "platform" / "reference" / "openapi.json"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
AS_IT_WAS_SAID = {
    "events": "What a job reported, its log lines among it.",
    "logs": "Lines of a log.",
    "search_logs": "Lines of a log.",
}
"""Endpoints whose sentences are no answer of the platform's."""
NAMES_ALONE = {"packages", "mlflow", "database"}
"""Checks that find names and versions, where nothing is wrong."""


def sentences(schema: Any, schemas: dict[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The fields below a schema that hold sentences."""
    if not isinstance(schema, dict):
        return
    if (name := str(schema.get("$ref", "")).rpartition("/")[2]) and name not in seen:
        yield from sentences(schemas[name], schemas, seen | {name})
    for field, inner in schema.get("properties", {}).items():
        if field in worded.SENTENCES and is_text(inner):
            yield field
        yield from sentences(inner, schemas, seen)
    for word in ("items", "additionalProperties"):
        yield from sentences(schema.get(word), schemas, seen)
    for word in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(word, []):
            yield from sentences(inner, schemas, seen)


def is_text(schema: dict[str, Any]) -> bool:
    plain = schema.get("type") == "string" and not {"enum", "const"} & schema.keys()
    return plain or any(is_text(inner) for inner in schema.get("anyOf", []))


def test_every_answer_with_sentences_is_worded(plane: Plane) -> None:
    described = json.loads(OPENAPI.read_text("utf-8"))
    endpoints = {
        (method.lower(), re.sub(r":\w+}", "}", route.path)): route.endpoint
        for route in plane.app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    plain, seen = [], 0
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            answers = [
                kind.get("schema")
                for code, answer in operation["responses"].items()
                if code.startswith("2")
                for kind in answer.get("content", {}).values()
            ]
            found = {
                field for answer in answers for field in sentences(answer, described["components"]["schemas"])
            }
            endpoint = endpoints[method, path]
            seen += bool(found)
            if found and endpoint not in routing._WORDED and endpoint.__name__ not in AS_IT_WAS_SAID:
                plain.append(f"{endpoint.__name__}: {sorted(found)}")
    assert seen > 40
    assert plain == []


def test_what_the_checks_find_is_said_in_the_readers_language(client: TestClient) -> None:
    said = {
        language: {
            check["name"]: check["found"]
            for check in client.get(
                "/v1/system/environment", headers={"Accept-Language": language}, params={"disk_bytes": 10}
            ).json()["checks"]
        }
        for language in ("en", "zh-CN")
    }
    assert not [text for text in said["en"].values() if CHINESE.search(text)]
    assert {name for name, text in said["zh-CN"].items() if not CHINESE.search(text)} <= NAMES_ALONE


@pytest.mark.parametrize(("why", "shown"), [("best", "best"), ("Stopped on request.", "按请求停止。")])
def test_a_word_that_programs_read_stays(why: str, shown: str) -> None:
    assert worded._put({"why": why, "notes": "A backup."}) == {"why": shown, "notes": "A backup."}


def test_where_a_time_comes_from_is_said_and_where_rows_come_from_stays() -> None:
    source = "the past task `ember` with the same model"
    said = worded._put({"time": {"source": source}, "version": {"source": source}})
    assert said == {"time": {"source": "使用同一模型的历史任务 `ember`"}, "version": {"source": source}}


@pytest.mark.parametrize("place", ["spec.learning_rate", "learning_rate", "rows.jsonl:3"])
def test_what_stands_behind_a_place_is_translated(place: str) -> None:
    said = tr(f"{place}: Input should be less than or equal to 0.1 (given: 9).", Language.ZH)
    assert said == f"{place}：应小于或等于 0.1（给出：9）。"

"""The API's answers on a team's platform: many entries, long names in two languages. No test itself."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Route

from tunesmith.lifecycle import State
from tunesmith_platform import examples

LONG = "customer-support-conversations-of-the-whole-year-2026-without-duplicates-and-with-corrected-answers"
LONG_ZH = "二〇二六年全年客户服务对话数据集（已去重并由人工逐条校对过答案的最终版本，第二次修订）"
UNBROKEN = "a" * 120
NAMES = (LONG, LONG_ZH, UNBROKEN, "short")
_ENDED = {"state": "completed", "ended_at": "2026-11-21T10:30:00Z", "progress": {"percent": 100.0}}


def _page(data: list[Any]) -> dict[str, Any]:
    return {"data": data, "has_more": False, "next_cursor": None}


def _many(one: Any, count: int, *more: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """So many of an example, each with an id of its own, the names in turn."""
    made = [one.model_dump(mode="json") | {"id": f"{one.id}{at}"} for at in range(count)]
    for at, entry in enumerate(made):
        for change in more:
            entry.update(change(at))
    return made


def _named(at: int) -> dict[str, Any]:
    return {"name": NAMES[at % len(NAMES)] + (f"-{at}" if at >= len(NAMES) else "")}


def datasets() -> dict[str, Any]:
    """Eight data sets; the first has sixty versions, each made from others."""
    found = _many(examples.DATASET, 8, _named)
    version = found[0]["versions"][0]
    found[0]["versions"] = [
        version
        | {
            "number": at,
            "file_name": f"{NAMES[at % 3]}.jsonl",
            "columns": [f"{LONG}_{column}" for column in range(30)],
            "lineage": {
                "operation": "mix",
                "task_id": None,
                "sources": [f"{LONG}@{at}", f"{LONG_ZH}@{at}"],
                "parts": [{"source": LONG_ZH, "rows": 120_000}],
                "parameters": {"condition": "len(response) > 10 and " * 6},
            },
        }
        for at in range(1, 61)
    ]
    found[0]["latest"] = 60
    return _page(found)


def models() -> dict[str, Any]:
    """Forty models: some refused, some gone, with long paths."""
    states = ("ready", "refused", "missing")

    def changed(at: int) -> dict[str, Any]:
        state = states[at % 3]
        problem = {"message": f"`{LONG}/config.json` names no architecture.", "hint": LONG_ZH}
        return {
            "state": state,
            "path": f"/data/models/{LONG}/{LONG_ZH}",
            "problem": problem if state != "ready" else None,
        }

    return _page(_many(examples.MODEL, 40, _named, changed))


def pipelines() -> dict[str, Any]:
    """One of twelve steps, the eighth of which failed, and one that is done."""
    step = examples.PIPELINE.steps[0].model_dump(mode="json")
    states = ["completed"] * 7 + ["failed"] + ["pending"] * 4
    steps = [
        step
        | {
            "id": f"{at}-{NAMES[at % 3]}",
            "state": state,
            "needs": [f"{need}-{NAMES[need % 3]}" for need in {max(0, at - 1), max(0, at - 3)} if need < at],
            "task_id": "task-01k9xq7c2m5d8e4f9g",
            "is_reused": at == 2,
            "message": f"`{LONG}` has no column `{LONG_ZH}`." if state == "failed" else None,
        }
        for at, state in enumerate(states)
    ]
    failed = examples.PIPELINE.model_dump(mode="json") | {
        "id": "pipe-1",
        "name": LONG_ZH,
        "state": "failed",
        "message": f"Step 7-{LONG_ZH} has failed.",
        "steps": steps,
        "ended_at": "2026-11-21T10:30:00Z",
    }
    return _page([failed, examples.PIPELINE.model_dump(mode="json") | {"name": UNBROKEN}])


def webhooks() -> dict[str, Any]:
    """Twelve receivers with long addresses."""
    return _page(
        _many(
            examples.WEBHOOKS.data[0],
            12,
            lambda at: {
                "url": f"https://hooks.example.com/{LONG}/{UNBROKEN}?at={at}",
                "events": ["finished", "failed", "stopped", "quota_low", "warning"],
            },
        )
    )


def keys() -> dict[str, Any]:
    """Thirty keys: of long names, in many projects, used, revoked, over."""
    return _page(
        _many(
            examples.KEYS.data[0],
            30,
            _named,
            lambda at: {
                "projects": None if at % 5 == 0 else [f"{LONG}-{project}" for project in range(at % 4 + 1)],
                "used_at": "2026-11-21T10:30:00Z" if at % 2 else None,
                "revoked_at": "2026-11-22T10:30:00Z" if at % 6 == 1 else None,
                "expires_at": None if at % 3 == 0 else "2030-11-22T10:30:00Z",
            },
        )
    )


def tasks(kind: str) -> dict[str, Any]:
    """Sixty tasks of a kind, in all states."""
    states = [state.value for state in State]
    return _page(
        _many(
            examples.TASK,
            60,
            _named,
            lambda at: {
                "kind": kind,
                "state": states[at % len(states)],
                "model_uri": "/m" if at % 2 else None,
            },
        )
    )


def quota() -> dict[str, Any]:
    """Twelve projects with long names."""
    known = {"enabled": True, "limit": 1000, "available": 877, "reserved": 100, "charged": 23, "packages": 12}
    return _page(
        [known | {"project": f"{NAMES[at % 3]}-{at}", "package_bytes": 123_456_789_012} for at in range(12)]
    )


ANSWERS: tuple[tuple[str, Callable[[str], dict[str, Any]]], ...] = (
    (r"/v1/datasets(\?.*)?$", lambda _url: datasets()),
    (r"(?<!openai)/v1/models(\?.*)?$", lambda _url: models()),
    (r"/v1/pipelines(\?.*)?$", lambda _url: pipelines()),
    (r"/v1/webhooks(\?.*)?$", lambda _url: webhooks()),
    (r"/v1/keys(\?.*)?$", lambda _url: keys()),
    (r"/v1/quota(\?.*)?$", lambda _url: quota()),
    (r"/v1/tasks\?.*kind=(\w+)", lambda url: tasks(re.search(r"kind=(\w+)", url)[1])),  # type: ignore[index]
    (r"/v1/datasets:validate", lambda _url: examples.DATA_REPORT.model_dump(mode="json")),
)


def fill(page: Page) -> None:
    """Have a page's questions answered from here; what changes anything goes on to the server."""
    for pattern, answer in ANSWERS:

        def reply(route: Route, *, answer: Callable[[str], dict[str, Any]] = answer) -> None:
            if route.request.method == "GET" or route.request.url.endswith(":validate"):
                route.fulfill(json=answer(route.request.url))
            else:
                route.continue_()

        page.route(re.compile(pattern), reply)


CUT = """() => {
  const found = [];
  const room = document.documentElement.clientWidth;
  const whole = document.documentElement.scrollWidth;
  if (whole > room) found.push(`the page: ${whole} of ${room}`);
  const scrolls = (one) => /auto|scroll/.test(getComputedStyle(one).overflowX)
    || one.matches(".mantine-ScrollArea-viewport, .u-wrap");
  // Up to the first part that scrolls: nobody reads what lies beyond a part that cuts off, or beyond the page.
  const edge = (one) => {
    for (let at = one; at && at !== document.body; at = at.parentElement) {
      const { overflowX, textOverflow } = getComputedStyle(at);
      if (textOverflow === "ellipsis" || scrolls(at)) return Infinity;
      if (/hidden|clip/.test(overflowX)) return at.getBoundingClientRect().right;
    }
    return room;
  };
  const isMoved = (one, frame) => {
    for (let at = one; at && at !== frame; at = at.parentElement) if (scrolls(at)) return true;
    return false;
  };
  const texts = document.createTreeWalker(document.querySelector("#root"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    const holder = text.parentElement;
    if (!text.data.trim() || !holder.checkVisibility({ visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect();
    const begin = text.data.slice(0, 50);
    if (box.width && box.right > edge(holder) + 1) found.push(`cut off: ${begin}`);
    else if (box.height > 720 && !holder.closest(".bounded")) found.push(`${Math.round(box.height)} high: ${begin}`);
    const frame = holder.closest(".tile, section");
    if (frame && !isMoved(holder, frame) && box.right > frame.getBoundingClientRect().right + 1) {
      found.push(`beyond its frame: ${begin}`);
    }
  }
  for (const node of document.querySelectorAll(".graph-node")) {
    const { right } = node.querySelector("rect").getBoundingClientRect();
    const isBeyond = (one) => one.getBoundingClientRect().right > right;
    if ([...node.querySelectorAll("text")].some(isBeyond)) found.push(`beyond its box: ${node.textContent}`);
  }
  return [...new Set(found)].slice(0, 8);
}"""
"""What of a page's texts nobody can read, and columns squeezed until a text is taller than a screen: in words."""

"""Every text of ours that a user may read, found in the code: what the catalogues of translations must have.

A text with values in it is written as the catalogues do: `{0}`, `{1}` ... in their places.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TALKS = [
    *sorted((ROOT / "platform/tunesmith/cli").glob("*.py")),
    ROOT / "platform/tunesmith_platform/embedded/commands.py",
    ROOT / "platform/tunesmith_platform/embedded/starting.py",
    ROOT / "platform/tunesmith_platform/embedded/status.py",
    ROOT / "jobs/tunesmith_jobs/models/commands.py",
    ROOT / "jobs/tunesmith_jobs/models/pull.py",
]
"""Where the command line speaks."""
_SAYS = {"say": 0, "_say": 0, "warn": 0, "_warn": 0, "tr": 0, "ask": 0, "show_hint": 0, "BadParameter": 0}
"""What shows a text, and which of its arguments that is."""
_SHOWS = {"_show": (0, 2), "show_usage": (0,)}
_JOBS, _PLATFORM = ROOT / "jobs/tunesmith_jobs", ROOT / "platform/tunesmith_platform"
_TASKS_SAY = [
    *(_JOBS / name for name in ("entry.py", "model_work.py", "data/program.py", "evaluate/scoring.py")),
    _JOBS / "pull/program.py",
    *(
        _JOBS / name
        for name in ("generate/answering.py", "package/merging.py", "package/gguf_files.py", "train/core.py")
    ),
    _JOBS / "train/run/evaluation_state.py",
    *(
        _PLATFORM / name
        for name in ("reconciler/admission.py", "reconciler/decisions.py", "reconciler/loop.py")
    ),
    _PLATFORM / "tasks/moves.py",
]
"""Where a task's message is made."""
_TABLES = ("PHASE_WORDS", "_FAULTS", "_WORDS", "_FITS", "_BY")
"""Names of dictionaries whose values are texts."""
_ERRORS_MORE = (
    *("Problem", "Notice", "NotUnderstood", "_Refused", "Finding", "finding", "cannot"),
    *("RowProblem", "bad", "bad_file", "Warned"),
    # What ends an attempt in words of its own: a task shows them.
    *("BadCheckpoint", "NonFinite", "NoRoom", "PeerLost", "Stopped", "StorageFailed"),
)


def variants(node: ast.AST | None) -> list[str]:
    """The texts that an expression may be; empty where it holds none of ours."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return variants(node.body) + variants(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in variants(value)]
    if isinstance(node, ast.JoinedStr):
        text, number = "", 0
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            else:
                text += f"{{{number}}}"
                number += 1
        return [text]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        found = []
        for left, right in itertools.product(variants(node.left) or ["{?}"], variants(node.right) or ["{?}"]):
            found.append(_renumbered(left + right))
        return [text for text in found if text not in ("{0}{1}", "{0}")]
    return []


def _renumbered(text: str) -> str:
    numbers = itertools.count()
    return re.sub(r"\{(\d+|\?)\}", lambda _: f"{{{next(numbers)}}}", text)


def _inner(node: ast.AST) -> Iterator[str]:
    """Texts inside the values of a text: `f"... {' and its files' if files else ''}"`."""
    for part in ast.walk(node):
        if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp | ast.BoolOp):
            yield from variants(part.value)


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def is_text(text: str) -> bool:
    """Whether there is anything in it to translate."""
    bare = re.sub(r"\{\d+\}|`[^`]*`", "", text)
    return bool(re.search(r"[A-Za-z]{2}", bare))


def said(file: Path) -> Iterator[str]:
    """The texts that a module of the command line shows."""
    tree = ast.parse(file.read_text())
    handed_on = _handed_on(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node)
            places = _SHOWS.get(name) or ((_SAYS[name],) if name in _SAYS else handed_on.get(name, ()))
            for place in places:
                if place < len(node.args):
                    yield from variants(node.args[place])
                    yield from _inner(node.args[place])
            if name == "table":
                yield from (text for argument in node.args for text in variants(argument))
            if name == "facts":
                yield from _pairs(node)
        elif isinstance(node, ast.FunctionDef) and node.name == "_sentence":
            yield from (text for part in ast.walk(node) for text in _built(part))
        elif isinstance(node, ast.Yield | ast.YieldFrom):
            yield from _pairs(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id in _TABLES and isinstance(node.value, ast.Dict):
                yield from (text for value in node.value.values for text in variants(value))


def _handed_on(tree: ast.Module) -> dict[str, tuple[int, ...]]:
    """The functions of a module that hand a parameter of theirs on to what shows it, and which one."""
    found = {}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = [argument.arg for argument in function.args.args]
        shown = {
            node.args[_SAYS[_name(node)]].id
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            and _name(node) in _SAYS
            and _SAYS[_name(node)] < len(node.args)
            and isinstance(node.args[_SAYS[_name(node)]], ast.Name)
        }
        if places := tuple(names.index(name) for name in names if name in shown):
            found[function.name] = places
    return found


def _built(node: ast.AST) -> list[str]:
    """The texts with values in them that a function builds up."""
    return variants(node) if isinstance(node, ast.JoinedStr) else []


def _pairs(node: ast.AST) -> Iterator[str]:
    """The names in `("name", value)`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Tuple) and len(part.elts) == 2 and isinstance(part.elts[0], ast.Constant):
            yield from variants(part.elts[0])


def errors(file: Path) -> Iterator[str]:
    """The messages and hints of the errors, problems and notices that a module makes."""
    from tunesmith.errors import TunesmithError, _descendants

    names = {kind.__name__ for kind in _descendants(TunesmithError)} | set(_ERRORS_MORE)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and _name(node) in names:
            given: list[ast.AST] = [
                item.value for item in node.keywords if item.arg in ("message", "hint", "cure")
            ]
            given += node.args if _name(node) in ("Finding", "finding") else node.args[:1]
            if _name(node) == "cannot":  # the field comes first, and is no text
                given = [*given[:-1], *node.args[1:2]]
            for value in given:
                yield from variants(value)
                yield from _inner(value)


_SHOWN_TO_NOBODY = (
    *("debug", "info", "warning", "error", "exception", "critical", "log", "getLogger", "filterwarnings"),
    *("RuntimeError", "AssertionError", "ValueError", "TypeError", "KeyError", "NotImplementedError"),
    *("Field", "param", "Query", "Path", "Header", "Body", "Option", "Argument", "Annotated", "answers"),
    *("APIRouter", "FastAPI", "APIKeyHeader", "HTTPBearer", "compile", "add_argument"),
)
"""What is given to these is shown to no user, or is a program's description, which is English."""
_NO_SENTENCES = (
    *(
        "described.py",
        "endpoints.py",
        "sign_in_endpoints.py",
        "samples_endpoints.py",
        "gauges.py",
        "card.py",
        "adapter_zip.py",
    ),
    *("narration.py", "sentences.py", "same_ids.py", "scoping.py", "terms.py", "app.py"),
)
"""Modules whose sentences are descriptions, reasons for tests, logs, texts to try tokenizers with, or licences."""


_ENGLISH = re.compile(r"[A-Za-z]{2,}(?:[ ,;:'.-]+[A-Za-z]{2,}){2,}")
"""Three words behind each other."""
_FOR_PROGRAMS = {
    "Check python-core-worker-*.log files for more information.",  # Ray's own, looked for in what it says
    "Something in the request is wrong or cannot be done.",
    "There is no such model.",
    "Too many answers of this key are under way.",
    "Any other refusal.",
    "The model is not served yet.",
}
"""What stands in the API's description, or is compared with."""


def sentences(file: Path) -> Iterator[str]:
    """Every whole sentence in the code of a module that a user may come to read, wherever it goes from there."""
    if file.name not in _NO_SENTENCES and "examples" not in file.parts:
        for text in _written(ast.parse(file.read_text())):
            # What is put before a sentence is a sentence of its own.
            bare = _renumbered(re.sub(r"^(\{\d+\} )+(?=[A-Z][a-z]* |`)", "", text.strip()))
            if _is_sentence(bare) and bare not in _FOR_PROGRAMS:
                yield bare


def english_in(text: str) -> str | None:
    """What of a text is English once it was translated, but names and what is quoted; None where nothing is."""
    from tunesmith.language import Language, tr

    bare = re.sub(r"`[^`]*`|\{\"[^}]*\}\]?\}?|Hugging Face Trainer", " ", tr(text, Language.ZH))
    found = _ENGLISH.search(bare)
    return found[0] if found else None


def _is_sentence(text: str) -> bool:
    is_whole = len(text.split()) > 2 and re.fullmatch(r"[A-Z`{].*[.?!]", text, re.DOTALL) is not None
    return is_whole and is_text(text)


def _written(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assert) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.Call) and (
        _name(node) in _SHOWN_TO_NOBODY or any(item.arg == "zh" for item in node.keywords)
    ):
        return
    below = list(ast.iter_child_nodes(node))
    if any(_is_chinese(part) for part in below):
        return  # both languages beside each other
    if found := variants(node) if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) else []:
        yield from found
        return
    for part in below:
        yield from _written(part)


def _is_chinese(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and any("\u4e00" <= letter <= "\u9fff" for letter in node.value)
    )


def told_by_tasks() -> Iterator[str]:
    """What a task says of how it stands and how it ended, as jobs and the platform say it."""
    for file in _TASKS_SAY:
        for node in ast.walk(ast.parse(file.read_text())):
            value: ast.AST | None = None
            if isinstance(node, ast.Call) and _name(node) == "because" and len(node.args) > 1:
                value = node.args[1]
            elif isinstance(node, ast.Call) and _name(node) == "Stopped" and node.args:
                value = node.args[0]
            elif isinstance(node, ast.Call) and _name(node) == "move":
                value = next((item.value for item in node.keywords if item.arg == "message"), None)
            elif isinstance(node, ast.Assign) and _target(node.targets[0]) in (
                "words",
                "why",
                "how",
                "message",
            ):
                value = node.value
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr | ast.Constant):
                value = node.value if file.name == "evaluation_state.py" else None
            # What is put before a sentence is a sentence of its own.
            yield from (
                text.removeprefix("{0}") if text.startswith("{0}S") else text for text in variants(value)
            )


def found_by_checks() -> Iterator[str]:
    """What the check before a start says that it found."""
    for node in ast.walk(ast.parse((_PLATFORM / "system/environment.py").read_text())):
        value: ast.AST | None = None
        if isinstance(node, ast.Call) and _name(node) == "Found":
            value = node.args[1]
        elif isinstance(node, ast.Assign | ast.AugAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            value = node.value if _target(target) in ("words", "nodes", "gpus") else None
        if value is not None:
            yield from variants(value)
            yield from _inner(value)


def _target(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def modules() -> list[Path]:
    """Every module of ours."""
    places = (
        "platform/tunesmith",
        "platform/tunesmith_platform",
        "jobs/tunesmith_jobs",
        "serve/tunesmith_serve",
    )
    return [
        file
        for place in places
        for file in sorted((ROOT / place).rglob("*.py"))
        if "testing" not in file.parts
    ]


def helps(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every paragraph of the help of a command and of those below it, with the command's path."""
    texts = [command.help, *(getattr(item, "help", None) for item in command.params)]
    texts += [item.rich_help_panel for item in command.params if getattr(item, "rich_help_panel", None)]
    for text in texts:
        for part in (text or "").split("\n\n"):
            if part.strip():
                yield path, " ".join(part.split())
    for name, below in getattr(command, "commands", {}).items():
        yield from helps(below, (*path, name))


def words_of(*kinds: type[StrEnum]) -> list[str]:
    """The values of enumerations that are shown as words."""
    return [str(value) for kind in kinds for value in kind]

"""The studio's sources: words in both languages, exact packages, nothing from outside, no way from a text to HTML."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.schema import form_schema
from tunesmith.spec.kinds import kinds

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "platform" / "tunesmith_ui" / "web"
SOURCES = sorted((WEB / "src").rglob("*.ts*"))
WORDS = {
    language: json.loads((WEB / "src" / "i18n" / f"{language}.json").read_text()) for language in ("en", "zh")
}
TEXT = "\n".join(file.read_text("utf-8") for file in SOURCES if ".test." not in file.name)


def test_both_languages_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, text in WORDS["en"].items():
        other = WORDS["zh"][key]
        assert text
        assert other
        assert set(re.findall(r"\{\{\w+\}\}", text)) == set(re.findall(r"\{\{\w+\}\}", other)), key
        assert re.search(r"[\u4e00-\u9fff]", other) or text == other, f"{key} is not in Chinese"


def test_every_word_is_used() -> None:
    """What nobody says any more would be translated for ever."""
    begun = set(re.findall(r"\bt\(`([\w.]+\.)\$\{", TEXT)) | {
        "state.",
        "memory.",
        "metric.",
        "axis.",
        "fault.",
        "verdict.",
    }
    unused = [
        key
        for key in WORDS["en"]
        if f'"{re.sub(r"_(one|other)$", "", key)}"' not in TEXT
        and not any(key.startswith(one) for one in begun)
    ]
    assert unused == []


def test_every_unit_of_a_parameter_has_a_word() -> None:
    """A form is drawn from the schema: what a parameter is counted in is said in the page's language."""
    units = {
        about["tunesmith"]["unit"]
        for kind in kinds().values()
        for about in form_schema(kind.spec)["properties"].values()
        if about["tunesmith"].get("unit")
    }
    assert units >= {"steps", "tokens"}
    assert {f"unit.{unit}" for unit in units} <= WORDS["zh"].keys()


def test_what_stands_between_backticks_is_shown_as_code() -> None:
    """A sentence of ours or of the server's is written by `Said`, wherever a page shows it."""
    bare = [
        f"{file.name}:{number}"
        for file in SOURCES
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if re.search(
            r"(?<!<Said)(?<!<Said ofTerminal)"
            r">\{(?!line\.)(?:\w+\??\.)*(?:message|hint|next_step|recommendation|sentence|cure|found)(?:\[\w+\])?\}<",
            line,
        )
        if file.name != "Log.tsx"
    ]
    assert bare == []


def test_packages_are_exact_and_the_lock_names_no_registry() -> None:
    package = json.loads((WEB / "package.json").read_text())
    for name, version in {**package["dependencies"], **package["devDependencies"]}.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
    lock = (WEB / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "omit-lockfile-registry-resolved=true" in (WEB / ".npmrc").read_text()


@pytest.mark.parametrize(
    "word", ["dangerouslySetInnerHTML", "innerHTML", "insertAdjacentHTML", "document.write", "eval("]
)
def test_no_text_becomes_html_or_a_program(word: str) -> None:
    assert word not in TEXT


def test_nothing_comes_from_outside() -> None:
    """Addresses of the web stand in no source: what the page loads is this server's."""
    assert re.findall(r"https?://(?!www\.w3\.org)[\w.]+", TEXT + (WEB / "index.html").read_text()) == []


def test_no_key_is_kept_by_the_browser() -> None:
    """The language alone; the draft of a task goes with its tab; Mantine keeps the theme."""
    assert set(re.findall(r"localStorage\.setItem\((\w+)", TEXT)) == {"KEPT"}
    assert set(re.findall(r"sessionStorage\.setItem\((\w+)", TEXT)) == {"DRAFT", "TYPED"}


def test_no_wheel_is_built_without_the_studio(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import wheel;"
        "hook = object.__new__(wheel.WithStudio); hook._BuildHookInterface__root = sys.argv[2];"
        "hook.initialize('editable', {}); hook.initialize('standard', {})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT / "infra" / "scripts", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make studio" in done.stderr


def test_every_address_is_one_of_the_apis() -> None:
    """A link is checked by no compiler: one to a table that is called otherwise answered 422."""
    paths = json.loads((ROOT / "platform" / "reference" / "openapi.json").read_text())["paths"]
    known = []
    for path, operations in paths.items():
        choices = {
            one["name"]: "|".join(map(re.escape, one["schema"]["enum"]))
            for operation in operations.values()
            for one in operation.get("parameters", ())
            if one["in"] == "path" and "enum" in one["schema"]
        }
        parts = re.split(r"\{(\w+)\}", path)
        pattern = "".join(
            f"(?:{choices.get(part, '[^/:]+')}|X)" if place % 2 else re.escape(part)
            for place, part in enumerate(parts)
        )
        known.append(re.compile(pattern))
    asked = {re.sub(r"\$\{[^}]*\}", "X", found) for found in re.findall(r"[`\"](/v1/[^`\"?]*)[`\"]", TEXT)}
    assert len(asked) > 50
    assert sorted(one for one in asked if not any(path.fullmatch(one) for path in known)) == []


def test_what_belongs_to_a_task_has_its_id_in_its_key() -> None:
    """Such answers are asked for anew when their task changes (`api/changes.ts`), which finds them by it."""
    queries = [one for one in TEXT.split("queryKey: ")[1:] if "queryFn" in one.partition("useMutation")[0]]
    asked = [
        (one.partition("queryFn")[0], name)
        for one in queries
        for name in re.findall(
            r"`/v1/tasks/\$\{([\w.]+)!?\}", one.partition("useMutation")[0].partition("\n  });")[0]
        )
    ]
    assert len(asked) >= 10
    assert [(key, name) for key, name in asked if not re.search(rf"\b{re.escape(name)}\b", key)] == []
    besides = re.search(r"BESIDES = new Set\(\[(.*?)\]\)", TEXT, re.S)
    assert besides
    kept = {re.match(r'\["([\w-]+)"|', one)[1] for one in queries}  # type: ignore[index]
    assert {name.strip(' "') for name in besides[1].split(",")} <= kept


def test_what_changes_something_is_begun_once() -> None:
    """A button that is pressed twice before it is drawn anew sends once, where `useAct` sends."""
    assert [file.name for file in SOURCES if "useMutation(" in file.read_text("utf-8")] == []


OPEN_TO_ALL = {
    ("Keys.tsx", "setAsked"): "A key of one's own may be revoked by everybody.",
    ("Keys.tsx", "revoke.mutate"): "A key of one's own may be revoked by everybody.",
    ("Rows.tsx", "submit"): "Asks which rows a step saw.",
    ("Samples.tsx", "ours.mutate"): "Reads our samples into the page.",
    ("SignIn.tsx", "submit"): "Who signs in has no role yet.",
}
"""Buttons that a viewer may press, with why."""
_BUTTON = re.compile(r"(<Changing>)?<(Button|ActionIcon|Menu\.Item)\b(.*?)(?:</\2>|/>\n)", re.S)
_CHANGES = re.compile(
    r"type=\"(submit)\"|\b(\w+\.mutate)\(|onClick=\{(begin|onStart|asking\.open)\}|(starting\.start)\("
    r"|\b(setAsked)\(true|\b(setActed|setGoing|onAgain|onEdit)\((?!null)|=> (go)\(file"
)


def test_what_changes_something_is_not_offered_to_who_only_looks() -> None:
    """Each button whose press sends a change, or opens what does, stands in `Changing`, where the one rule is."""
    held, bare, excused = 0, [], set()
    for file in SOURCES:
        for button in _BUTTON.finditer(file.read_text("utf-8")):
            found = _CHANGES.search(button[3])
            if not found:
                continue
            name = next(one for one in found.groups() if one)
            if button[1]:
                held += 1
            elif (file.name, name) in OPEN_TO_ALL:
                excused.add((file.name, name))
            else:
                bare.append(f"{file.name}: {name}")
    assert bare == []
    assert held >= 40
    assert excused == OPEN_TO_ALL.keys()


def test_every_command_that_the_platform_names_has_its_place_in_the_studio() -> None:
    """Who reads an error in a browser is not sent to a terminal: `parts/hints.ts` knows each command's first word."""
    named = set()
    for file in sorted((ROOT / "platform" / "tunesmith_platform").rglob("*.py")):
        if "embedded" in file.parts:  # runs in a terminal
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in ("hint", "message"):
                named |= set(re.findall(r"`tunesmith ([a-z]+)", ast.unparse(node.value)))
    places = re.search(r"PLACES: .*? = \{(.*?)\};", TEXT, re.S)
    assert places
    known = set(re.findall(r"(\w+): \"hint\.", places[1]))
    assert len(named) > 10
    assert named - known == set()


def test_what_the_server_says_at_a_field_is_said_as_elsewhere() -> None:
    assert (
        re.findall(r"error=\{(?:problems|errors)[.\[][^}&]*\}", TEXT.replace("error={errors[name]}", ""))
        == []
    )


def test_what_the_server_says_in_a_tooltip_is_said_as_elsewhere() -> None:
    assert re.findall(r"label=\{(?!inStudio)[\w.]*message\}|\$\{(?:\w+\.)+message\}`\)\.join", TEXT) == []
    assert re.findall(r"(?<!<Said)> ?\{(?!line\.)(?:\w+\.)*(?:message|why)\}<", TEXT) == []


def test_no_word_of_the_studio_sends_to_a_terminal() -> None:
    told = [
        key for words in WORDS.values() for key, text in words.items() if re.search(r"tunesmith [a-z]", text)
    ]
    assert told == []


def test_no_text_is_of_a_colour_too_faint_for_its_page() -> None:
    """Mantine's red and orange are for surfaces: as text on white they have three to one."""
    assert re.findall(r"<Text[^>]* c=\"(?:red|orange|green|yellow)\"", TEXT) == []

"""The command line speaks the language of who calls it, everywhere, by one catalogue that holds every text."""

import ast
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import user_texts
from rich.console import Console
from typer.main import get_command

from tunesmith import lifecycle
from tunesmith.cli.main import build_app
from tunesmith.cli.output import state_word
from tunesmith.environment import CheckStatus
from tunesmith.errors import Fault, InvalidInput, Problem
from tunesmith.language import VARIABLES, Language, choose, current, language_of, tr
from tunesmith.language.catalogue import Catalogue, chinese, read_po
from tunesmith.lifecycle import REASONS, State
from tunesmith.model_views import ModelState
from tunesmith.notifications import DeliveryState
from tunesmith.views import Health, QuotaKind

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture
def zh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_LANG", "zh")


def missing(texts: Any) -> list[str]:
    known = chinese().texts
    bare = {text.strip() for text in texts if user_texts.is_text(text)}
    return sorted(text for text in bare if text not in known and " ".join(text.split()) not in known)


# --- which language


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Language.EN),
        ({"TUNESMITH_LANG": "zh"}, Language.ZH),
        ({"TUNESMITH_LANG": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, Language.ZH),
        ({"TUNESMITH_LANG": "en", "LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN"}, Language.EN),
        ({"TUNESMITH_LANG": "", "LANG": "zh_TW.UTF-8"}, Language.ZH),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, Language.EN),
        ({"LC_MESSAGES": "zh_CN", "LANG": "de_DE"}, Language.ZH),
        ({"LANG": "zh-Hant-HK"}, Language.ZH),
        ({"LANG": "fr_FR.UTF-8"}, Language.EN),
        ({"LANG": "POSIX"}, Language.EN),
    ],
)
def test_the_setting_comes_before_the_locale(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: Language
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert current() is expected


@pytest.mark.parametrize("tag", ["zh", "ZH_cn", "zh-Hans-CN", "zh_CN.GB18030@pinyin", " zh "])
def test_every_spelling_of_chinese_is_chinese(tag: str) -> None:
    assert language_of(tag) is Language.ZH


# --- every text is in the catalogue


def test_every_help_text_is_in_both_languages() -> None:
    app = get_command(build_app())
    # The parameters of a training have their own texts in both languages, where they are declared.
    found = [text for path, text in user_texts.helps(app) if path not in (("train",), ("estimate",))]
    assert len(found) > 200
    assert missing(found) == []


def test_every_sentence_in_the_code_is_in_both_languages() -> None:
    """Wherever it goes from there: many are put together from parts, or handed on before they are shown."""
    found = [(file.name, text) for file in user_texts.modules() for text in user_texts.sentences(file)]
    assert len(found) > 2000
    left = [one for one in found if tr(one[1], Language.ZH) == one[1] or user_texts.english_in(one[1])]
    assert left == []


@pytest.mark.parametrize("command", ["train", "estimate"])
def test_the_help_of_parameters_is_in_the_language_it_is_made_in(zh: None, command: str) -> None:
    from tunesmith.cli.usage import prepare

    app = prepare(get_command(build_app(with_plugins=False)))
    for parameter in app.commands[command].params:
        if not parameter.hidden:
            assert CHINESE.search(parameter.help), parameter.name
        assert CHINESE.search(parameter.rich_help_panel or "选项") or parameter.rich_help_panel == "LoRA"


@pytest.mark.parametrize("file", user_texts.TALKS, ids=lambda file: file.stem)
def test_everything_that_a_command_says_is_in_both_languages(file: Any) -> None:
    assert missing([*user_texts.said(file), *user_texts.errors(file)]) == []


def test_states_reasons_and_the_like_are_in_both_languages() -> None:
    words = user_texts.words_of(
        State, Fault, Health, QuotaKind, ModelState, DeliveryState, CheckStatus, lifecycle.WaitsFor
    )
    sentences = [text for facts in REASONS.values() for text in (facts.words, facts.next_step)]
    assert missing([*words, *sentences]) == []


def test_what_a_task_says_of_itself_is_in_both_languages() -> None:
    found = list(user_texts.told_by_tasks())
    assert len(found) > 20
    assert missing(found) == []


def test_what_the_check_before_a_start_finds_is_in_both_languages() -> None:
    found = list(user_texts.found_by_checks())
    assert len(found) > 20
    assert missing(found) == ["PostgreSQL", "SQLite"], "but names"


def test_sentences_behind_each_other_are_each_translated(zh: None) -> None:
    assert tr("Stopped after step 5; its checkpoint is saved. Trained 5 steps.") == (
        "在第 5 步之后停止；检查点已保存。已训练 5 步。"
    )
    assert tr("Trained 5 steps. Nobody knows this one.") == "已训练 5 步。Nobody knows this one."
    assert tr("Nobody knows this one. Nor this.") == "Nobody knows this one. Nor this."


def test_nearly_every_error_of_the_whole_is_in_both_languages() -> None:
    """One that is new may be shown in English for a while; a fiftieth of them may not."""
    found = {text.strip() for file in user_texts.modules() for text in user_texts.errors(file)}
    found = {text for text in found if user_texts.is_text(text)}
    assert len(found) > 500
    lacking = missing(found)
    assert len(lacking) <= len(found) / 50, lacking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train.jsonl:17: `messages[0].content` is a number, not a string.",
            "train.jsonl:17：`messages[0].content` 是数字，不是字符串。",
        ),
        (
            "rows.csv.gz:3: The row is a list, not a JSON object.",
            "rows.csv.gz:3：该行是列表，不是 JSON 对象。",
        ),
        ("train.jsonl:17: nobody knows this.", "train.jsonl:17: nobody knows this."),
        ("`a.json` has no `role`.", "`a.json` 没有 `role`。"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_in_chinese_behind_its_place(
    zh: None, text: str, expected: str
) -> None:
    assert tr(text) == expected


def test_a_translation_has_the_values_of_its_text() -> None:
    assert len(chinese().texts) > 1000
    for text, translation in chinese().texts.items():
        values = re.findall(r"\{\d+\}", text)
        assert values == [f"{{{number}}}" for number in range(len(values))], text
        assert set(values) == {f"{{{number}}}" for number in re.findall(r"\{(\d+)(?:!t)?\}", translation)}, (
            text
        )
        for one, other in pairwise(re.finditer(r"\{\d+\}", text)):
            assert one.end() < other.start(), f"nobody could say where one value ends: {text}"
        commands = [set(re.findall(r"`tunesmith [^`]*`", words)) for words in (text, translation)]
        assert commands[0] == commands[1]


def test_no_text_goes_around_the_catalogue() -> None:
    """What prints takes no literal that is English: it goes through `tr`, or through what does that itself."""
    around = []
    for file in user_texts.TALKS:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or user_texts._name(node) not in (
                "print",
                "echo",
                "write",
                "Text",
            ):
                continue
            for text in (text for argument in node.args[:1] for text in user_texts.variants(argument)):
                bare = re.sub(r"\{\d+\}", "", text)
                if re.search(r"[a-z]{3}", bare) and not bare.startswith("export "):
                    around.append(f"{file.name}: {text}")
    assert around == ["main.py: tunesmith {0}\n"]


# --- what is shown


def test_states_are_said_as_in_chinese(zh: None) -> None:
    assert [state_word(state) for state in State] == [
        "等待中",
        "运行中",
        "停止中",
        "已停止",
        "已完成",
        "失败",
    ]


def test_errors_are_said_in_chinese_with_their_values(cli: Callable[..., Any], zh: None) -> None:
    said = cli("parameters", "learnin_rate")
    assert said.err == "错误：没有参数 `learnin_rate`。\n建议：您是不是想用 `learning_rate`？\n"
    said = cli("train", "--model", "/m", "--train-file", "/t", "--learning-rate", "-1", "--max-length", "x")
    assert "有 2 处问题" in said.err
    assert "learning_rate: 应大于或等于 0.000001（给出：'-1'）。" in said.err
    assert "max_length: 应为整数（给出：'x'）。" in said.err
    assert "Input should" not in said.err


@pytest.mark.parametrize(
    "args",
    [
        ["trian"], ["tasks", "show"], ["tasks", "list", "--limit", "0"], ["tasks", "list", "--limit", "x"],
        ["tasks", "list", "--state", "sleeping"], ["tasks", "list", "--nmae", "x"], ["tasks", "list", "more"],
        ["tasks", "list", "--limit"], ["quota", "grant"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_the_library_refuses_is_said_in_chinese(
    cli: Callable[..., Any], zh: None, args: list[str]
) -> None:
    said = cli(*args)
    assert said.code == 2
    words = re.sub(r"`[^`]*`|'[^']*'|（more）", "", said.err)
    assert not re.search(r"[A-Za-z]{4}", words), said.err
    assert CHINESE.search(said.err)


def test_the_servers_errors_are_translated_here(api: Any, cli: Callable[..., Any], zh: None) -> None:
    said = cli("tasks", "show", "nobody")
    assert said.code == 1
    assert "没有任务 `nobody`。" in said.err


def test_tables_and_watching_are_in_chinese(api: Any, cli: Callable[..., Any], zh: None) -> None:
    task = api.add_task("ember", state=State.RUNNING, message="Starting.")
    listed = cli("tasks", "list").out
    assert listed.splitlines()[0].split() == ["任务", "名称", "状态", "进度", "损失", "时间"]
    assert "● 运行中" in listed
    shown = cli("tasks", "show", task.id).out
    assert "正在启动。" in shown
    assert "状态" in shown
    api.append(
        task.id,
        {"kind": "phase", "phase": "data", "seconds": 2},
        {
            "kind": "training_started",
            "step": 0,
            "total_steps": 9,
            "resumed_from": "checkpoint-3",
            "restart": 1,
        },
        {"kind": "state", "state": "failed", "reason": "out_of_memory", "message": ""},
    )
    said = cli("watch", task.id)
    assert said.code == 1
    assert "训练从第 0 步开始，共 9 步，自 `checkpoint-3`，第 1 次重启" in said.out.replace(", ", "，")
    assert "✘ 失败" in said.out
    assert "内存或显存不足。" in said.out
    assert "gradient_checkpointing" in said.out
    log = cli("tasks", "events", task.id).out
    assert "正在准备数据，用时 2.0 秒" in log


def test_json_is_the_same_in_every_language(api: Any, cli: Callable[..., Any], monkeypatch: Any) -> None:
    api.add_task("ember")
    english = cli("tasks", "list", "--json").out
    monkeypatch.setenv("TUNESMITH_LANG", "zh")
    assert cli("tasks", "list", "--json").out == english


def test_a_language_that_was_asked_for_counts_once(cli: Callable[..., Any]) -> None:
    assert "学习率" in cli("parameters", "learning_rate", "--lang", "zh").out
    assert "学习率" not in cli("parameters", "learning_rate").out


@pytest.mark.parametrize("width", [60, 200])
def test_help_on_a_terminal_is_in_chinese(zh: None, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    import io

    from tunesmith.cli import usage
    from tunesmith.cli.main import command_line

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", width)
    command_line().main(args=["tasks", "list", "--help"], prog_name="tunesmith", standalone_mode=False)
    monkeypatch.setenv("TUNESMITH_LANG", "en")
    usage._speak()
    text = re.sub(r"\s|\x1b\[[0-9;]*m|│", "", screen.getvalue())  # it goes on in the next line where it must
    for words in ("用法：", "选项", "只列出此", "[默认：20]", "显示此帮助信息并退出。"):
        assert words in text
    assert "Usage" not in text


# --- how it is looked up


def test_a_text_is_found_by_its_form() -> None:
    found = Catalogue(
        {
            "Task `{0}` is {1}.": "任务 `{0}`：{1!t}。",
            "pending": "等待中",
            "`{0}` cannot be read: {1}": "无法读取 `{0}`：{1}",
            "{0} rows": "{0} 行",
            "{0} GiB free": "剩余 {0} GiB",
            "; {0} free": "；剩余 {0}",
            "note: {0}": "提示：{0!t}",
        }
    )
    assert found.translate("Task `a. b` is pending.") == "任务 `a. b`：等待中。"
    assert found.translate("  Task `x` is odd. ") == "  任务 `x`：odd。"
    assert found.translate("note: Task `pending` is pending.") == "提示：任务 `pending`：等待中。"
    assert found.translate("12 rows") == "12 行"
    assert found.translate("; 20.9 GiB free") == "；剩余 20.9 GiB", "the semicolon is no part of the number"
    assert found.translate("He who sows reaps many rows") == "He who sows reaps many rows"
    assert found.translate("nobody knows this") == "nobody knows this"
    assert found.translate("") == ""


def test_looking_up_takes_time_by_length_alone() -> None:
    found = Catalogue({"a{0}a{1}a{2}a{3}a{4}b": "{0}{1}{2}{3}{4}"})
    text = "a" * 20_000
    assert found.translate(text) == text


def test_a_po_file_is_read_as_tools_write_it() -> None:
    head = 'msgid ""\nmsgstr ""\n"Language: zh\\n"\n\n# why\n'
    text = head + 'msgid "a \\"b\\"\\n"\n"c"\nmsgstr ""\n"甲"\n"乙"\n\nmsgid "x"\nmsgstr ""\n'
    assert list(read_po(text)) == [('a "b"\nc', "甲乙")]


def test_problems_are_translated_each(cli: Callable[..., Any], zh: None, capsys: Any) -> None:
    from tunesmith.cli.output import show_error

    both = [
        Problem(field="a", message="Field required."),
        Problem(field="b", message="`q` is not a known field."),
    ]
    show_error(InvalidInput("x", problems=both))
    said = capsys.readouterr().err
    assert "a: 必须给出。" in said
    assert "b: 没有名为 `q` 的字段。" in said


def test_a_choice_is_forgotten() -> None:
    choose(Language.ZH)
    assert tr("pending") == "等待中"
    choose(None)
    assert tr("pending") in ("pending", "等待中")
    assert Console is not None


def test_sentences_behind_each_other_are_each_said_in_chinese() -> None:
    """A value at a sentence's end takes in none of those behind it."""
    said = tr("Candidates: 5; samples: 12. Recommended: `a`. The report lies in `/r`.", Language.ZH)
    assert said == "候选：5 个；样本：12 个。推荐：`a`。报告位于 `/r`。"
    half = tr("Candidates: 5; samples: 12. Something that nobody has translated.", Language.ZH)
    assert "Something that nobody has translated." in half


@pytest.mark.parametrize(
    "other",
    ["基座", "文件夹", "聊天模板", "估算", "学习率计划", "拉取", "你", r"(?<![A-Za-z_-])token(?![A-Za-z_])"],
)
def test_one_thing_has_one_word_in_chinese(other: str) -> None:
    """基础模型, 目录, 对话模板, 预估, 学习率调度, 下载, 您, 词元: two words for one thing read as two things."""
    plain = (re.sub(r"`[^`]*`", "", text) for text in chinese().texts.values())
    assert [text for text in plain if re.search(other, text)] == []

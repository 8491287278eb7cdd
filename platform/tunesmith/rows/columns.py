"""What columns mean by their names: pairs of question and answer, verdicts on answers, scores, reasoning.

Names are compared without regard to case, full-width forms and the Unicode form they were written in: `Question` is
`question`. Knows names and single values; knows nothing of files.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

PAIRS = (
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
    ("input", "target"),
    ("inputs", "targets"),
    ("query", "response"),
    ("query", "answer"),
    ("query", "answers"),
    ("query", "output"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("question", "output"),
    ("question", "solution"),
    ("problem", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("问题", "回答"),
    ("问题", "答案"),
    ("提问", "回答"),
    ("问", "答"),
    ("指令", "输出"),
    ("指令", "回答"),
    ("指令", "輸出"),
    ("输入", "输出"),
    ("輸入", "輸出"),
    ("問題", "回答"),
    ("問題", "答案"),
    ("質問", "回答"),
    ("質問", "答え"),
    ("指示", "出力"),
    ("指示", "応答"),
    ("入力", "出力"),
    ("질문", "답변"),
    ("지시", "출력"),
    ("지시문", "출력"),
    ("명령어", "출력"),
    ("입력", "출력"),
    ("инструкция", "ответ"),
    ("инструкция", "вывод"),
    ("вопрос", "ответ"),
    ("питання", "відповідь"),
    ("frage", "antwort"),
    ("anweisung", "ausgabe"),
    ("anweisung", "antwort"),
    ("eingabe", "ausgabe"),
    ("consigne", "réponse"),
    ("instrucción", "salida"),
    ("instrucción", "respuesta"),
    ("instrução", "saída"),
    ("instrução", "resposta"),
    ("istruzione", "risposta"),
    ("question", "réponse"),
    ("pregunta", "respuesta"),
    ("pergunta", "resposta"),
    ("domanda", "risposta"),
    ("سؤال", "جواب"),
    ("السؤال", "الجواب"),
    ("السؤال", "الإجابة"),
    ("التعليمات", "المخرجات"),
)
"""Columns of a question and of its answer, the surest first."""
ANSWERS = ("output", "response", "answer", "completion", "target")
"""What the answer to an `instruction` is called."""
INPUTS = ("input", "context", "query")
"""What goes with an `instruction`."""
MORE = {
    "prompt": ("input", "query"),
    "指令": ("输入", "輸入"),
    "指示": ("入力",),
    "지시": ("입력",),
    "지시문": ("입력",),
    "명령어": ("입력",),
    "инструкция": ("ввод", "вход"),
    "anweisung": ("eingabe",),
    "consigne": ("entrée",),
    "instrucción": ("entrada",),
    "instrução": ("entrada",),
    "istruzione": ("input", "ingresso"),
    "التعليمات": ("المدخلات",),
}
"""What goes with a question, by the question's column."""
SYSTEMS = ("system", "system_prompt", "systemprompt", "system_message", "系统", "系统提示", "系统提示词")
TEXTS = (
    "text", "content", "sentence", "document", "文本", "正文", "内容", "テキスト", "本文", "텍스트", "текст", "texte",
    "texto", "testo", "نص",
)  # fmt: skip
"""Columns of a text that is trained whole, or that has a class."""
LABELS = (
    "label", "labels", "class", "category", "标签", "类别", "分类", "標籤", "ラベル", "라벨", "метка", "klasse",
    "étiquette", "etiqueta",
)  # fmt: skip
"""Columns of a text's class."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


REASONING = _words(
    "reasoning reasoning_content reasoning_text thinking thinking_content thought thoughts think cot complex_cot "
    "chain_of_thought chainofthought rationale rationales reasoning_trace reasoning_steps long_cot deepseek_reasoning "
    "r1_reasoning thinking_trajectory thinking_trajectories deepseek_thinking_trajectory thought_process scratchpad "
    "推理 推理过程 思考 思考过程 思维链"
)
"""Columns of what led to an answer."""
_REASONING_PARTS = _words("reasoning thinking thoughts cot rationale")
_REASONING_SIGNS = ("推理", "思考过程", "思考過程", "思维")
_SWITCHES = ("enable_", "is_", "has_", "use_", "no_", "with_")
SCORES = _words(
    "score scores rating ratings reward rewards stars quality quality_score helpfulness grade overall_score "
    "response_score answer_score preference_score 评分 得分 分数"
)
"""Columns of how good an answer is, on some scale."""
VERDICTS = _words(
    "label labels kto kto_tag kto_tags kto_label kto_labels desirable is_desirable desirability good is_good "
    "is_good_answer chosen_label is_chosen preferred is_preferred accepted is_accepted approved is_approved thumb "
    "thumbs thumbs_up feedback user_feedback human_feedback liked upvoted helpful is_helpful is_correct correct "
    "correctness is_valid verdict 标签 標籤 评价 反馈 是否正确 是否好 是否采纳 是否合格 是否满意 是否有用 采纳 "
    "ラベル 正誤 評価 korrekt richtig bewertung correcto correcte"
)
"""Columns that may say whether an answer is a good one."""
OPPOSITE_VERDICTS = _words(
    "is_bad is_bad_answer bad rejected is_rejected undesirable is_undesirable disliked thumbs_down is_wrong wrong "
    "is_incorrect incorrect 是否错误 是否拒绝"
)
"""Columns that say of an answer that it is a bad one, where they hold true or false alone."""
_GOOD = _words(
    "1 1.0 1,0 +1 true yes y t good chosen accept accepted preferred like liked desirable correct right up thumbs_up "
    "thumbsup pass passed helpful approved 是 好 对 正确 真 好评 优 优质 合格 满意 采纳 有用 通过 喜欢 对的 "
    "正解 良い はい wahr ja gut richtig vrai oui bon verdadero sí si correcto vero да верно 예 참 👍 ✅ ✓ ✔"
)
_BAD = _words(
    "0 0.0 0,0 -1 -1.0 false no n f bad rejected reject dispreferred dislike disliked undesirable incorrect wrong down "
    "thumbs_down thumbsdown fail failed unhelpful not_helpful disapproved 否 坏 差 错 错误 不好 不正确 假 差评 "
    "劣 劣质 不合格 不满意 不采纳 未采纳 没用 无用 不通过 未通过 不喜欢 错的 不正解 悪い いいえ falsch nein schlecht "
    "faux non mauvais falso incorrecto нет неверно 아니오 거짓 👎 ❌ ✗ ✘"
)
_GAPS = re.compile(r"[\s\-]+")


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A column's name without what makes no difference: case, width, blanks."""
    return _GAPS.sub("_", unicodedata.normalize("NFKC", name).strip().casefold())


def named(wanted: Iterable[str], found: Sequence[str]) -> str | None:
    """The first of some names that a file has, as the file writes it; what is spelled the same goes first."""
    plain: dict[str, str] = {}
    for name in found:
        plain.setdefault(plain_name(name), name)
    return next(
        (name if name in found else plain[name] for name in wanted if name in found or name in plain), None
    )


def is_filled(value: Any) -> bool:
    """Whether a value says anything: not null, and no empty text, list or object."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    return value is not None and value not in ([], {})


def is_good_answer(value: Any) -> bool | None:
    """What a verdict says: true, false, or None where it is no verdict."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return True if value == 1 else False if value in (0, -1) else None
    if isinstance(value, str) and len(value) < 20:
        word = plain_name(value)
        return True if word in _GOOD else False if word in _BAD else None
    return None


def judged(name: str, value: Any) -> bool | None:
    """Whether a verdict of a column with this name calls an answer good; None where it is no verdict."""
    if plain_name(name) not in OPPOSITE_VERDICTS:
        return is_good_answer(value)
    if isinstance(value, str):
        return {"true": False, "false": True, "1": False, "0": True}.get(plain_name(value))
    return not value if isinstance(value, bool | int | float) and value in (0, 1) else None


def is_reasoning(name: str) -> bool:
    """Whether a column holds what led to an answer, by its plain name; a switch (`enable_thinking`) does not."""
    if name in REASONING:
        return True
    if name.startswith(_SWITCHES):
        return False
    return not _REASONING_PARTS.isdisjoint(name.split("_")) or any(sign in name for sign in _REASONING_SIGNS)


def said_of_turn(name: str, value: Any) -> bool | None:
    """What a key of a turn says of its answer in words, or as true or false: numbers there have many meanings."""
    if plain_name(name) not in VERDICTS or not _is_word(value):
        return None
    return is_good_answer(value)


def _is_word(value: Any) -> bool:
    if isinstance(value, str):
        return not any(letter.isdigit() for letter in value)
    return isinstance(value, bool)


def verdict_column(rows: Sequence[dict[str, Any]], taken: Iterable[str]) -> str | None:
    """The column that says of each answer whether it is a good one; None where no column does.

    A column of another meaning may have such a name (`label` of five classes, a `score` from 1 to 10): what its first
    values are tells it. Good ones and bad ones in words tell it also beside others (`unknown`, `neutral`), which judge
    nothing.

    Args:
        rows: The first rows.
        taken: Columns that are read as something else.
    """
    others = set(taken)
    for name in dict.fromkeys(str(key) for row in rows for key in row):
        plain = plain_name(name)
        if name in others or plain not in VERDICTS | SCORES | OPPOSITE_VERDICTS:
            continue
        values = [row[name] for row in rows if is_filled(row.get(name))]
        said = {judged(name, value) for value in values}
        # A scale may begin with its ones: only both together, or the plain words, make a score a verdict.
        words = {judged(name, value) for value in values if _is_word(value)}
        if (None in said and not {True, False} <= words) or not said or (plain in SCORES and len(said) < 2):
            continue
        return name
    return None

"""What columns mean by their names: pairs of question and answer, what goes with them, reasoning, what is no text.

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
    ("input_text", "output_text"),
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
    ("human", "bot"),
    ("human", "ai"),
    ("user", "bot"),
    ("user", "chatbot"),
    ("user", "ai"),
    ("ask", "reply"),
    ("q", "a"),
    ("problem", "answer"),
    ("context", "response"),
    ("dialogue", "summary"),
    ("article", "highlights"),
    ("article", "summary"),
    ("document", "summary"),
    ("content", "summary"),
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
    "prompt": ("input", "query", "context"),
    "question": ("context", "passage"),
    "query": ("context", "passage"),
    "问题": ("上下文", "背景"),
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
TOOLS = (
    "tools",
    "functions",
    "available_tools",
    "tool_definitions",
    "function_definitions",
    "toolconfig",
    "工具",
)
"""Columns of the tools that may be called."""
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


def words(text: str) -> frozenset[str]:
    """Words that stand in one text."""
    return frozenset(text.split())


REASONING = words(
    "reasoning reasoning_content reasoning_text thinking thinking_content thought thoughts think cot complex_cot "
    "chain_of_thought chainofthought rationale rationales reasoning_trace reasoning_steps long_cot deepseek_reasoning "
    "r1_reasoning thinking_trajectory thinking_trajectories deepseek_thinking_trajectory thought_process scratchpad "
    "推理 推理过程 思考 思考过程 思维链"
)
"""Columns of what led to an answer."""
_REASONING_PARTS = words("reasoning thinking thoughts cot rationale")
_REASONING_SIGNS = ("推理", "思考过程", "思考過程", "思维")
_SWITCHES = ("enable_", "is_", "has_", "use_", "no_", "with_")
NOTHING = ("nan", "<NA>", "#N/A", "#NA")
"""What tables write into a field that holds nothing, and nobody answers."""
PLACEHOLDERS = words("none null nil n/a na nan <na> #n/a #na 无 空 暂无")
"""What stands for nothing, or is an answer."""
MEDIA = words(
    "image images image_path image_paths image_url image_urls image_file audio audios audio_path audio_url video "
    "videos video_path video_url 图片 图像 音频 视频"
)
"""Columns of what is no text, which an answer is about."""
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


def says_nothing(text: str) -> bool:
    """Whether a text is empty, or what tables write where nothing is."""
    return not text.strip() or (len(text) < 8 and text.strip() in NOTHING)


def is_reasoning(name: str) -> bool:
    """Whether a column holds what led to an answer, by its plain name; a switch (`enable_thinking`) does not."""
    if name in REASONING:
        return True
    if name.startswith(_SWITCHES):
        return False
    return not _REASONING_PARTS.isdisjoint(name.split("_")) or any(sign in name for sign in _REASONING_SIGNS)

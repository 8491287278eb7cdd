"""What a row says of its own answer: verdicts by a column's name and values, and words that may be some.

Knows names and single values; knows nothing of files.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.rows.columns import is_filled, plain_name, words

SCORES = words(
    "score scores rating ratings reward rewards stars quality quality_score helpfulness grade overall_score "
    "response_score answer_score preference_score 评分 得分 分数"
)
"""Columns of how good an answer is, on some scale."""
VERDICTS = words(
    "label labels kto kto_tag kto_tags kto_label kto_labels desirable is_desirable desirability good is_good "
    "is_good_answer chosen_label is_chosen preferred is_preferred accepted is_accepted approved is_approved thumb "
    "thumbs thumbs_up feedback user_feedback human_feedback liked upvoted helpful is_helpful is_correct correct "
    "correctness is_valid verdict judgement judgment desired is_desired preference preferred_label human_label "
    "binary_label response_label good_response is_good_response acceptable is_acceptable vote is_safe safe is_harmless "
    "harmless 标签 標籤 评价 反馈 是否正确 是否好 是否采纳 是否合格 是否满意 是否有用 是否好评 是否可接受 偏好 采纳 "
    "ラベル 正誤 評価 korrekt richtig bewertung correcto correcte"
)
"""Columns that may say whether an answer is a good one."""
OPPOSITE_VERDICTS = words(
    "is_bad is_bad_answer bad rejected is_rejected undesirable is_undesirable disliked thumbs_down is_wrong wrong "
    "is_incorrect incorrect harmful is_harmful toxic is_toxic unsafe is_unsafe hallucination is_hallucination "
    "hallucinated is_hallucinated 是否错误 是否拒绝 是否有害"
)
"""Columns that say of an answer that it is a bad one, where they hold true or false alone."""
_GOOD = words(
    "1 1.0 1,0 +1 true yes y t good chosen accept accepted preferred like liked desirable correct right up thumbs_up "
    "thumbsup upvote upvoted pass passed helpful approved approve acceptable desired ok safe harmless "
    "赞 点赞 可接受 接受 是 好 对 正确 真 好评 优 优质 合格 满意 采纳 有用 通过 喜欢 对的 "
    "正解 良い はい wahr ja gut richtig vrai oui bon verdadero sí si correcto vero да верно 예 참 👍 ✅ ✓ ✔"
)
_BAD = words(
    "0 0.0 0,0 -1 -1.0 false no n f bad rejected reject dispreferred dislike disliked undesirable incorrect wrong down "
    "thumbs_down thumbsdown downvote downvoted fail failed unacceptable undesired not_ok ng unsafe "
    "harmful 踩 点踩 不可接受 拒绝 unhelpful not_helpful disapproved 否 坏 差 错 错误 不好 不正确 假 差评 "
    "劣 劣质 不合格 不满意 不采纳 未采纳 没用 无用 不通过 未通过 不喜欢 错的 不正解 悪い いいえ falsch nein schlecht "
    "faux non mauvais falso incorrecto нет неверно 아니오 거짓 👎 ❌ ✗ ✘"
)
_MAYBE_GOOD = words("positive pos success succeeded high win winner better 正 正例 正面 优秀 成功")
_MAYBE_BAD = words("negative neg failure error low lose loser worse 负 负例 负面 失败")
_PLAIN = words("1 0 true false yes no y n t f 是 否 sí si oui non ja nein да нет")
"""Words that judge something only under a name that says what."""
_JUDGING_PARTS = words(
    "label kto good bad correct desirable desired approved accepted preferred chosen feedback verdict judgement "
    "judgment vote thumbs quality safe unsafe harmful harmless toxic hallucination passed success resolved positive "
    "helpful"
)


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


def may_judge(name: str, word: str) -> bool | None:
    """What a word in a column of any name may say of an answer; None where it says nothing.

    Args:
        name: The column.
        word: A value, by its plain name.
    """
    if word in _PLAIN:
        parts = plain_name(name).split("_")
        return is_good_answer(word) if not _JUDGING_PARTS.isdisjoint(parts) else None
    return True if word in _MAYBE_GOOD else False if word in _MAYBE_BAD else is_good_answer(word)


def judged(name: str, value: Any) -> bool | None:
    """Whether a verdict of a column with this name calls an answer good; None where it is no verdict."""
    if plain_name(name) not in OPPOSITE_VERDICTS:
        return is_good_answer(value)
    if isinstance(value, str):
        return {"true": False, "false": True, "1": False, "0": True}.get(plain_name(value))
    return not value if isinstance(value, bool | int | float) and value in (0, 1) else None


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

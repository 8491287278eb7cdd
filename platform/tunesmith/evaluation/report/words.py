"""What the report says, in both languages: one line a text, English and Chinese."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from tunesmith.evaluation.results import Text
from tunesmith.evaluation.scores.info import INFO

Language = Literal["en", "zh"]

WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "title": ("Evaluation", "评估报告"),
        "lead": (
            "Candidates: {candidates}; samples compared: {samples}",
            "候选：{candidates} 个；参与比较的样本：{samples} 个",
        ),
        "recommended": ("Recommended", "推荐"),
        "nothing": ("Nothing is recommended", "不作推荐"),
        "warnings": ("Warnings", "警告"),
        "candidates": ("Candidates", "候选"),
        "candidate": ("Candidate", "候选"),
        "step": ("Step", "步数"),
        "band": ("Band", "等级"),
        "cut": ("Cut at the limit", "因长度上限被截断"),
        "seen": ("Seen in training", "训练中见过"),
        "interval": ("95 % interval", "95% 区间"),
        "spread": ("Between repeats", "重复间标准差"),
        "base": ("base", "基础模型"),
        "means": (
            "Means over the samples on which all candidates were compared ({samples}); arrows say which way is better. "
            "Left out: seen in training {seen}, without a score {lacking}.",
            "对所有候选共同比较的 {samples} 个样本取平均；箭头表示更好的方向。"
            "排除：训练中见过 {seen} 个，缺少分数 {lacking} 个。",
        ),
        "differences_base": ("Differences against the base", "与基础模型的差异"),
        "differences_best": (
            "How much better {candidate} is than the others",
            "{candidate} 优于其他候选的程度",
        ),
        "all_scores": ("All scores", "全部指标"),
        "over_steps_alone": ("Means with their 95 % intervals.", "均值及其 95% 区间。"),
        "differences_about": (
            "Mean difference on the same samples with its 95 % bootstrap interval; above 0 is better. Filled: shown at "
            "a level of 5 % over all pairs (sign-flip test, Holm). Hollow: may be chance.",
            "同一批样本上的平均差异及其 95% 自助法区间；大于 0 表示更好。实心：在全部比较中以 5% 水平得到证明"
            "（符号翻转检验，Holm 校正）；空心：可能只是偶然。",
        ),
        "smallest": (
            "Grey: below {value}, the smallest difference that {samples} samples find 4 times in 5.",
            "灰色区域：小于 {value}，即 {samples} 个样本有五分之四的机会能发现的最小差异。",
        ),
        "pair": ("Pair", "比较"),
        "difference": ("Difference", "差异"),
        "p": ("p", "p 值"),
        "p_adjusted": ("p (Holm)", "p 值（Holm）"),
        "verdict": ("Verdict", "结论"),
        "better": ("better", "更好"),
        "worse": ("worse", "更差"),
        "no_difference_found": ("no difference found", "未发现差异"),
        "equal": ("equal on every sample", "每个样本均相同"),
        "against": ("{candidate} against {against}", "{candidate} 对比 {against}"),
        "all_pairs": ("All pairs", "全部比较"),
        "classes": ("Classes", "类别"),
        "classes_about": (
            "Which class was expected and which one was named; macro F1 is the mean of the classes' F1.",
            "期望的类别与回答所说的类别；宏平均 F1 为各类别 F1 的均值。",
        ),
        "macro_f1": ("Macro F1", "宏平均 F1"),
        "expected": ("Expected class", "期望的类别"),
        "no_class": ("none or several", "未说出或不唯一"),
        "benchmarks": ("Benchmarks", "标准基准"),
        "benchmarks_about": (
            "As lm-eval {version} measures them, with its standard error; each model with its adapter merged, without "
            "a chat template. No paired test is made of them, and they are no part of the recommendation.",
            "由 lm-eval {version} 测量并附标准误；模型已合并适配器，不使用对话模板。不做配对检验，也不计入推荐。",
        ),
        "benchmark": ("Benchmark", "基准"),
        "version": ("Version", "版本"),
        "shots": ("Examples before", "示例数"),
        "limit": ("At most", "样本上限"),
        "over_steps": ("{score} over steps", "{score}随步数的变化"),
        "over_steps_about": (
            "Means with their 95 % intervals; the dashed line is the base.",
            "均值及其 95% 区间；虚线为基础模型。",
        ),
        "distribution": ("Distribution of {score} over samples", "{score}在样本上的分布"),
        "distribution_about": (
            "How many samples have which score; the line is the mean.",
            "各分数段的样本数；竖线为均值。",
        ),
        "samples_title": ("Best and worst samples of {candidate}", "{candidate} 的最好与最差样本"),
        "best": ("Best", "最好"),
        "worst": ("Worst", "最差"),
        "answers": ("Answers side by side", "回答对照"),
        "answers_about": ("The first ones: {shown} of {samples}.", "前 {shown} 个样本，共 {samples} 个。"),
        "question": ("Question", "问题"),
        "reference": ("Expected", "参考答案"),
        "answer": ("Answer", "回答"),
        "sample": ("Sample {row}", "样本 {row}"),
        "train": ("train", "训练集"),
        "validation": ("validation", "验证集"),
        "was_cut": ("cut at the limit", "因长度上限被截断"),
        "was_seen": ("seen in training", "训练中见过"),
        "more": ("… characters that are not shown: {count}", "……还有 {count} 个字符"),
        "repeat": ("the first of {count} answers", "共 {count} 个回答，此为第一个"),
        "no_answer": ("no answer", "没有回答"),
        "empty": ("(empty)", "（空）"),
        "tokens": ("tokens: {count}", "{count} 个词元"),
        "against_base": ("{value} against the base", "与基础模型之差 {value}"),
        "how": ("How it was made", "评估方式"),
        "settings": ("Settings", "设置"),
        "weights": ("Weights of the composite", "综合分权重"),
        "score": ("Score", "指标"),
        "weight": ("Weight", "权重"),
        "meaning": ("Meaning", "含义"),
        "number_of": (
            "{train} of train, {validation} of validation",
            "训练集 {train} 个，验证集 {validation} 个",
        ),
        "samples": ("Samples", "样本"),
        "scorers": ("Version of the scorers", "评分器版本"),
        "comparable": ("Comparable with", "可比性标识"),
        "comparable_about": (
            "Only figures of evaluations with this very mark may be held against these.",
            "只有带有完全相同标识的评估，其数值才可与此处比较。",
        ),
        "batch": ("Other answers at batch 1", "批大小为 1 时不同的回答"),
        "task": ("Task", "任务"),
        "seconds": ("Seconds", "用时（秒）"),
        "excellent": ("excellent", "优秀"),
        "good": ("good", "良好"),
        "average": ("average", "一般"),
        "poor": ("poor", "较差"),
    }
)
"""English and Chinese by name."""
SETTINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "temperature": ("Temperature", "温度"),
        "max_new_tokens": ("Most new tokens", "最大新词元数"),
        "top_k": ("Top K", "Top K"),
        "top_p": ("Top P", "Top P"),
        "min_p": ("Min P", "Min P"),
        "repetition_penalty": ("Repetition penalty", "重复惩罚"),
        "presence_penalty": ("Presence penalty", "存在惩罚"),
        "seed": ("Seed", "随机种子"),
        "template": ("Chat template", "对话模板"),
        "repeats": ("Answers a question", "每题回答数"),
        "precision": ("Precision", "精度"),
        "embedder": ("Embedder", "嵌入模型"),
    }
)
"""What settings are called, in English and Chinese."""


class Words:
    """The texts of one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._place = 1 if language == "zh" else 0

    def __call__(self, name: str, **values: str | int) -> str:
        """A text with its values."""
        return WORDS[name][self._place].format(**values)

    def of(self, text: Text) -> str:
        """A sentence that is in both."""
        return text.zh if self.language == "zh" else text.en

    def score(self, name: str) -> str:
        """What a score is called; a custom one by its name."""
        info = INFO.get(name)
        return name if info is None else info.zh if self.language == "zh" else info.en

    def setting(self, name: str) -> str:
        """What a setting is called; one that is not known by its name."""
        return SETTINGS[name][self._place] if name in SETTINGS else name

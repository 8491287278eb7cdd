"""What a proof says: each check, the difference, and the sentence that it comes to, in two languages.

It lies beside the file and is read again later. Knows words; knows no numbers of a model.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from tunesmith.gguf import FileType

PROOF_FILE = "proof.json"


class Check(BaseModel):
    """One thing that was looked at."""

    name: Literal[
        "reads",
        "ids",
        "conversations",
        "ends",
        "context",
        "finite",
        "sizes",
        "words",
        "weights",
        "adapter",
        "turning",
        "kl",
        "top1",
        "greedy",
    ]
    passed: bool
    words: str = Field(description="What was found, in English.")
    words_zh: str = Field("", description="The same in Chinese; empty in proofs of before.")
    value: float | None = None
    limit: float | None = None


class Difference(BaseModel):
    """How far what llama.cpp computes is from what the library does, over all tokens that were looked at."""

    kl_mean: float = Field(description="Of llama.cpp's next token from the library's, in nats.")
    kl_p99: float
    kl_back_mean: float = Field(description="Of the library's from llama.cpp's.")
    top1: float = Field(description="Share of tokens whose likeliest next token is the same.")
    tokens: int
    sure: float | None = Field(None, description="The same share of those where it is clearly the likeliest.")
    sure_tokens: int = Field(0, description="How many those are.")


class Proof(BaseModel):
    """What was looked at of one file, and what came of it."""

    file: str
    sha256: str
    parts: dict[str, str] = Field(
        default_factory=dict,
        description="The sha256 of each of its files, where it is split: `file` is the first.",
    )
    type: str
    verdict: Literal["proven", "not_proven", "failed"]
    sentence: dict[str, str] = Field(default_factory=dict, description="What it comes to, by language.")
    difference: Difference | None = None
    checks: list[Check] = Field(default_factory=list)
    tokens_per_second: float | None = Field(
        None, description="Written one after another in one stream, as far as a few tokens say."
    )
    measured_on: str | None = Field(None, description="By so many threads of which processor.")
    missing: str | None = Field(None, description="Why it could not be looked at whole.")
    missing_zh: str | None = None
    written_by: str | None = Field(None, description="The program of somebody else's that wrote it.")

    @property
    def names(self) -> list[str]:
        """All its files."""
        return list(self.parts) or [self.file]

    def failed(self) -> list[Check]:
        """What is wrong."""
        return [check for check in self.checks if not check.passed]


def concluded(proof: Proof) -> Proof:
    """A proof with its verdict and its sentence."""
    failed = proof.failed()
    verdict: Literal["proven", "not_proven", "failed"] = (
        "failed" if failed else "not_proven" if proof.missing else "proven"
    )
    return proof.model_copy(update={"verdict": verdict, "sentence": _sentence(proof, failed)})


def _sentence(proof: Proof, failed: Sequence[Check]) -> dict[str, str]:
    if failed:
        words = "; ".join(check.words for check in failed)
        words_zh = "；".join(check.words_zh or check.words for check in failed)
        return {
            "en": f"`{proof.file}` is not the model and is not offered: {words}.",
            "zh": f"`{proof.file}` 与原模型不一致，未作为结果提供：{words_zh}。",
        }
    if proof.missing:
        return {
            "en": f"`{proof.file}` is not proven: {proof.missing}.",
            "zh": f"`{proof.file}` 未经证明：{proof.missing_zh or proof.missing}。",
        }
    apart = proof.difference
    if apart is None:
        return {
            "en": f"llama.cpp reads `{proof.file}`.",
            "zh": f"llama.cpp 可以读取 `{proof.file}`。",
        }
    is_cast = proof.type in (FileType.F32, FileType.F16, FileType.BF16)
    by_en = by_zh = ""
    if proof.written_by:
        by_en = f" `{proof.written_by}` wrote it: its tensors were not compared one by one."
        by_zh = f"该文件由 `{proof.written_by}` 写出，未逐个比对张量。"
    held_en = "" if is_cast else f", as closely as {proof.type} holds it"
    held_zh = "与原模型一致" if is_cast else f"在 {proof.type} 的精度内与原模型一致"
    return {
        "en": f"In llama.cpp `{proof.file}` computes what the model does{held_en}: over {apart.tokens} tokens "
        f"its next token differs by {apart.kl_mean:.2g} nats (KL) on average, "
        f"and the likeliest is the same in {apart.top1:.1%}.{by_en}",
        "zh": f"在 llama.cpp 中，`{proof.file}` {held_zh}：在 {apart.tokens} 个词元上，"
        f"下一词元分布平均相差 {apart.kl_mean:.2g} nats（KL），最可能的词元有 {apart.top1:.1%} 相同。{by_zh}",
    }

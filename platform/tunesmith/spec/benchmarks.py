"""Every parameter that says which standard benchmarks candidates of an evaluation take besides its samples.

Knows parameters; knows nothing of lm-eval, whose benchmarks they are.
"""

from typing import Annotated

from pydantic import Field

from tunesmith.errors import Problem
from tunesmith.spec.answers import AnswersSpec
from tunesmith.spec.parameter import Fold, Group, param
from tunesmith.spec.roles import Role

MAX_BENCHMARKS = 20
BENCHMARK_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
"""What a benchmark may be called: no path, which lm-eval would read, and nothing that no metric may be called."""
_Name = Annotated[str, Field(pattern=f"^{BENCHMARK_NAME}$")]


class BenchmarksSpec(AnswersSpec):
    """Which benchmarks are taken, and how."""

    benchmarks: list[_Name] | None = param(
        None,
        label=("Benchmarks", "标准基准"),
        help=(
            "Benchmarks of lm-eval that each candidate takes besides the samples: `hellaswag`, `arc_easy`, `mmlu`. "
            "Their data comes from the hub; the package is an extra: `tunesmith[benchmarks]`.",
            "除样本外，每个候选还要完成的 lm-eval 基准，例如 hellaswag、arc_easy、mmlu。"
            "数据来自 Hub；需要可选安装 tunesmith[benchmarks]。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles=(),
        min_length=1,
        max_length=MAX_BENCHMARKS,
    )
    benchmark_file: str | None = param(
        None,
        label=("Benchmark file", "自定义基准文件"),
        help=(
            "A benchmark of your own as lm-eval's YAML, over a file of rows beside it. Functions, filters and metrics "
            "that are programs are refused.",
            "以 lm-eval 的 YAML 编写的自定义基准，数据为其旁边的数据行文件；不接受函数、过滤器及以程序实现的指标。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles={Role.PLACE, Role.RESOLVED},
        path="always",
        min_length=1,
    )
    benchmark_limit: int | None = param(
        None,
        label=("Samples a benchmark", "每个基准的样本数"),
        help=(
            "Only the first so many samples of each benchmark; all when empty. With a limit figures are no published "
            "ones.",
            "每个基准仅使用前若干样本；留空使用全部。设限后的数值不能与公开结果比较。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles=(),
        unit="samples",
        step=1,
        ge=1,
        le=1_000_000,
    )
    benchmark_shots: int | None = param(
        None,
        label=("Examples before a benchmark's question", "基准的示例数（few-shot）"),
        help=(
            "Solved examples that stand before each question; as the benchmark says when empty. One that is defined "
            "with none keeps none.",
            "每个问题之前给出的示例数；留空按基准的定义。定义为 0 的基准保持 0。",
        ),
        group=Group.DATA,
        fold=Fold.ADVANCED,
        roles=(),
        step=1,
        ge=0,
        le=100,
    )

    @property
    def takes_benchmarks(self) -> bool:
        """Whether candidates take any."""
        return self.benchmarks is not None or self.benchmark_file is not None

    def _benchmark_problems(self) -> list[Problem]:
        given = [name for name in ("benchmark_limit", "benchmark_shots") if getattr(self, name) is not None]
        if self.takes_benchmarks:
            return []
        return [
            Problem(
                field=name,
                message=f"`{name}` is given, and no benchmark is taken.",
                hint="Give `benchmarks` or `benchmark_file`, or leave it out.",
            )
            for name in given
        ]

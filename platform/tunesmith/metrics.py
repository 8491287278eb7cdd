"""The names and units of everything a job may measure. One name, one meaning, in every chart and in MLflow."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """What a measurement is called for people."""

    unit: str
    label_en: str
    label_zh: str


METRICS: dict[str, Metric] = {
    "loss": Metric("nats/token", "Training loss", "训练损失"),
    "perplexity": Metric("", "Perplexity", "困惑度"),
    "learning_rate": Metric("", "Learning rate", "学习率"),
    "grad_norm": Metric("", "Gradient norm", "梯度范数"),
    "epoch": Metric("epochs", "Epoch", "轮次"),
    "tokens_per_second": Metric("tokens/s", "Useful tokens per second", "每秒有效词元数"),
    "samples_per_second": Metric("rows/s", "Rows per second", "每秒样本数"),
    "supervised_tokens": Metric("tokens", "Trained tokens so far", "累计训练词元数"),
    "useful_token_share": Metric("", "Share of tokens that are not padding", "有效词元占比"),
    "eval_loss": Metric("nats/token", "Evaluation loss", "评估损失"),
    "eval_perplexity": Metric("", "Evaluation perplexity", "评估困惑度"),
    "eval_token_accuracy": Metric("", "Evaluation, share of tokens predicted right", "评估词元准确率"),
    "eval_tokens": Metric("tokens", "Evaluated tokens", "评估词元数"),
    "eval_rows": Metric("rows", "Evaluated rows", "评估样本数"),
    "eval_accuracy": Metric("", "Evaluation accuracy", "评估准确率"),
    "eval_f1": Metric("", "Evaluation F1, mean of the classes", "评估 F1（各类平均）"),
    "memory_bytes": Metric("bytes", "Memory of the worker", "工作进程内存"),
}

SYSTEM = "system/"
"""What begins so is measured of machines, and not of what is learned. MLflow shows these on a page of their own."""
SYSTEM_METRICS: dict[str, Metric] = {
    "cpu_utilization_percentage": Metric("%", "CPU of the node", "节点 CPU 使用率"),
    "system_memory_usage_megabytes": Metric("MB", "Memory in use on the node", "节点已用内存"),
    "system_memory_usage_percentage": Metric("%", "Memory in use on the node", "节点内存使用率"),
    "system_memory_available_megabytes": Metric("MB", "Memory free on the node", "节点可用内存"),
    "process_cpu_percentage": Metric("%", "CPU of the worker, of one processor", "工作进程 CPU（以单核计）"),
    "process_memory_megabytes": Metric("MB", "Memory of the worker", "工作进程内存"),
    "gpu_utilization_percentage": Metric("%", "GPU", "GPU 使用率"),
    "gpu_memory_usage_megabytes": Metric("MB", "GPU memory in use", "GPU 已用显存"),
    "gpu_memory_usage_percentage": Metric("%", "GPU memory in use", "GPU 显存使用率"),
    "gpu_temperature_celsius": Metric("°C", "GPU temperature", "GPU 温度"),
    "gpu_power_usage_watts": Metric("W", "GPU power", "GPU 功率"),
    "gpu_power_usage_percentage": Metric("%", "GPU power, of its limit", "GPU 功率占上限"),
}
"""By their names without worker and without the GPU's number; named as MLflow names them where it has a name."""
_SYSTEM_NAME = re.compile(r"^system/(?:worker-(\d+)/)?(gpu_)?(?:(?<=gpu_)(\d+)_)?(\w+)$")


def system_values(workers: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What the workers' machines measured, by the names of curves. The first worker's have no worker in them.

    Args:
        workers: `SystemMeasured.workers`, as they are stored.
    """
    return {
        f"{SYSTEM}worker-{worker['worker']}/{name}" if worker["worker"] else f"{SYSTEM}{name}": value
        for worker in workers
        for name, value in worker["values"].items()
    }


def metric_of(name: str) -> Metric | None:
    """What a curve is called; None where nobody gave it a name."""
    found = _SYSTEM_NAME.match(name)
    if found is None:
        return METRICS.get(name)
    worker, gpu, number, rest = found.groups()
    known = SYSTEM_METRICS.get(f"{gpu or ''}{rest}")
    if known is None:
        return None
    of_gpu = f" {number}" if number and number != "0" else ""
    en = f"{known.label_en}{of_gpu and f', GPU{of_gpu}'}{f', worker {worker}' if worker else ''}"
    zh = f"{known.label_zh}{of_gpu and f'，GPU{of_gpu}'}{f'，进程 {worker}' if worker else ''}"
    return Metric(known.unit, en, zh)

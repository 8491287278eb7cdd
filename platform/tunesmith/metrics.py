"""The names and units of everything a job may measure. One name, one meaning, in every chart and in MLflow."""

from typing import NamedTuple


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
    "eval_accuracy": Metric("", "Evaluation accuracy", "评估准确率"),
    "eval_f1": Metric("", "Evaluation F1, mean of the classes", "评估 F1（各类平均）"),
    "memory_bytes": Metric("bytes", "Memory of the worker", "训练进程内存"),
}

"""The platform in numbers, as Prometheus reads them. Knows names and units; the numbers are given."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GAUGES: dict[str, str] = {
    "tunesmith_queue_length": "Tasks that wait to be started.",
    "tunesmith_queue_age_seconds": "Since when the oldest of them waits.",
    "tunesmith_ingest_lag_seconds": "From an event on the job's clock until it was stored, of the newest report.",
    "tunesmith_silence_seconds": "Since when the running task that was heard of least said nothing.",
    "tunesmith_reconcile_seconds": "How long the reconciler's last round took.",
    "tunesmith_events": "Events stored in the logs of all tasks.",
    "tunesmith_checkpoints": "Checkpoints that are complete and verified.",
    "tunesmith_checkpoint_bytes": "What those checkpoints take in the storage.",
    "tunesmith_chat_running": "Answers of served models that this server passes on now.",
    "tunesmith_chat_waiting": "Questions to them that wait for their turn in this server.",
    "tunesmith_chat_answers": "Answers that this server has passed on since it started.",
    "tunesmith_chat_failures": "Questions that got none since then.",
    "tunesmith_chat_prompt_tokens": "Tokens of those answers' prompts.",
    "tunesmith_chat_completion_tokens": "Tokens of those answers.",
    "tunesmith_chat_answer_seconds": "How long those answers took together; tokens over it are their speed.",
    "tunesmith_chat_first_token_seconds": "Half of the newest 200 answers began within so long.",
    "tunesmith_mirror_behind_events": "Events that MLflow does not show yet.",
}
"""Numbers without labels."""
BY_STATE: dict[str, str] = {
    "tunesmith_tasks": "Tasks, by state.",
    "tunesmith_deliveries": "Notifications in the delivery log, by state.",
}
"""Numbers with the label `state`."""
BY_WORKER: dict[str, str] = {
    "tunesmith_worker_cpu_percent": "Processors that a running task's worker uses; 100 is one.",
    "tunesmith_worker_memory_bytes": "Memory of a running task's worker.",
    "tunesmith_node_free_memory_bytes": "Memory that is free on its node.",
    "tunesmith_gpu_utilization_percent": "How busy its GPU is.",
    "tunesmith_gpu_memory_bytes": "Memory in use of its GPU.",
    "tunesmith_gpu_temperature_celsius": "Temperature of its GPU.",
    "tunesmith_gpu_power_watts": "Power that its GPU takes.",
}
"""The newest sample of running tasks' machines, with the labels `task`, `worker`, `node` and `gpu`."""
WORKER_LABELS = ("task", "worker", "node", "gpu")


class Sample(NamedTuple):
    """A number of one worker."""

    name: str
    labels: tuple[str, str, str, str]
    value: float


def exposition(
    version: str,
    single: Mapping[str, float],
    by_state: Mapping[str, Mapping[str, int]],
    by_worker: Sequence[Sample] = (),
) -> str:
    """The numbers in Prometheus' text format.

    Args:
        version: The platform's.
        single: By names of `GAUGES`; one that is not known is left out.
        by_state: By names of `BY_STATE`, then by state.
        by_worker: Of the names of `BY_WORKER`.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    class Numbers(Collector):
        def collect(self) -> Iterator[Metric]:
            about = GaugeMetricFamily("tunesmith_info", "The platform's version.", labels=["version"])
            about.add_metric([version], 1)
            yield about
            for name, words in GAUGES.items():
                if name in single:
                    yield GaugeMetricFamily(name, words, value=single[name])
            for name, words in BY_STATE.items():
                family = GaugeMetricFamily(name, words, labels=["state"])
                for state, count in by_state.get(name, {}).items():
                    family.add_metric([state], count)
                yield family
            for name, words in BY_WORKER.items():
                family = GaugeMetricFamily(name, words, labels=WORKER_LABELS)
                for sample in by_worker:
                    if sample.name == name:
                        family.add_metric(sample.labels, sample.value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers())
    return generate_latest(registry).decode()

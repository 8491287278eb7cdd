"""What a notification says, in English and Chinese: the payload of a webhook, the letter of a mail. Pure."""

from typing import Any, NamedTuple

from tunesmith.language import Language, tr
from tunesmith.lifecycle import REASONS, Reason
from tunesmith.notifications import NoticeEvent
from tunesmith_platform.db.tables import EventRow, TaskRow


class _Said(NamedTuple):
    """A sentence in both languages."""

    en: str
    zh: str

    def of(self, language: Language) -> str:
        return self.zh if language is Language.ZH else self.en


_EVENTS = {
    NoticeEvent.FINISHED: _Said("Task {name} has completed.", "任务 {name} 已完成。"),
    NoticeEvent.FAILED: _Said("Task {name} has failed.", "任务 {name} 失败。"),
    NoticeEvent.STOPPED: _Said("Task {name} was stopped.", "任务 {name} 已停止。"),
    NoticeEvent.QUOTA_LOW: _Said(
        "Task {name} leaves little of its training quota.", "任务 {name} 的训练配额即将用尽。"
    ),
    NoticeEvent.WARNING: _Said("Task {name} has a warning.", "任务 {name} 出现警告。"),
}
TEST = _Said("This is a test of Tunesmith's notifications.", "这是 Tunesmith 通知的测试。")
_WARNINGS_ZH: dict[str, tuple[str, str]] = {
    "loss_spike": ("训练损失突增。", "多由坏数据行引起；若反复出现，请降低 `learning_rate` 或 `max_grad_norm`。"),
    "overfitting": ("评估损失连续上升而训练损失下降：可能过拟合。", "请停止任务并使用最佳检查点，或减少训练轮数。"),
    "stall": ("训练长时间没有进展。", "请查看任务日志和节点（`tunesmith environment`）。"),
    "worker_silent": ("一个工作进程没有响应。", "若其仍无响应且不占用处理器，平台会将其结束并重新启动。"),
    "worker_ended": ("一个工作进程长时间没有响应，已被结束并将重新启动。", "任务日志中有它的调用栈。"),
    "silent": ("一段时间没有收到作业的任何消息。", "其节点可能离线或过载；若持续如此，作业会被结束并重新启动。"),
    "restart": ("工作进程已重启。", "有进程中断：其节点的内存和日志可能说明原因。"),
    "numeric": ("损失变为 NaN 或无穷大。", "请降低 `learning_rate`，或使用 `precision=fp32`。"),
    "zero_gradient": ("梯度连续为零：模型没有在学习。", "请检查样本中参与训练的词元和 `target_modules`。"),
    "smaller_batches": ("内存不足：已减小批次并继续训练。", "下次请直接使用较小的 `per_device_train_batch_size`。"),
    "quota_low": ("剩余训练配额不足。", "请申请配额。"),
}  # fmt: skip
_LABELS = {
    "task": _Said("Task", "任务"),
    "project": _Said("Project", "项目"),
    "step": _Said("Step", "步数"),
    "why": _Said("Why", "原因"),
    "next": _Said("Next", "下一步"),
    "details": _Said("Details", "详情"),
}


def trial(moment: str, language: Language) -> dict[str, Any]:
    """What a test posts."""
    return {"event": NoticeEvent.TEST, "time": moment, "language": language, "text": TEST.of(language)}


def payload(task: TaskRow, entry: EventRow, event: NoticeEvent, language: Language) -> dict[str, Any]:
    """What is posted: the event as it was, and what is needed to tell whose it is.

    The message is the job's own and is not translated; what is said around it is.
    """
    reason = entry.payload.get("reason")
    facts = REASONS[Reason(reason)] if reason else None
    code = entry.payload.get("code")
    message = entry.payload.get("message") or ""
    words = facts.words if facts else ""
    next_step = facts.next_step if facts else entry.payload.get("hint")
    if language is Language.ZH:
        words, next_step = _in_chinese(reason, code, words, next_step)
    head = _EVENTS[event].of(language).format(name=task.name)
    tail = " ".join(filter(None, (words if language is Language.ZH else "", message)))
    return {
        "event": event,
        "time": entry.time.isoformat(),
        "language": language,
        "text": f"{head} {tail}".strip(),
        "task": {
            "id": task.id,
            "name": task.name,
            "project": task.project,
            "state": entry.payload.get("state", task.state),
            "reason": reason,
            "warning": code,
            "words": words,
            "message": message,
            "fault": facts.fault if facts else None,
            "next_step": next_step,
            "step": task.progress.get("step", 0),
            "total_steps": task.progress.get("total_steps", 0),
            "loss": task.progress.get("loss"),
            "model_uri": task.model_uri,
        },
    }


def _in_chinese(
    reason: str | None, code: str | None, words: str, next_step: str | None
) -> tuple[str, str | None]:
    if reason:
        return tr(words, Language.ZH), tr(next_step or "", Language.ZH)
    return _WARNINGS_ZH.get(code or "", (words, next_step))


def subject(said: dict[str, Any]) -> str:
    """The subject of a mail."""
    return f"Tunesmith: {said['text']}".splitlines()[0][:200]


def letter(said: dict[str, Any]) -> str:
    """A notification as the text of a mail."""
    task, language = said.get("task"), Language(said.get("language", Language.EN))
    if not task:
        return f"{said['text']}\n"
    of = _Said(" of ", " / ").of(language)
    facts = [
        ("task", f"{task['name']} ({task['id']})"),
        ("project", task["project"]),
        ("step", f"{task['step']}{of}{task['total_steps']}"),
    ]
    if task.get("words"):
        facts.append(("why", task["words"]))
    if task["next_step"]:
        facts.append(("next", task["next_step"]))
    if said["event"] == NoticeEvent.FAILED:
        facts.append(("details", f"tunesmith tasks autopsy {task['id']}"))
    lines = [said["text"], ""]
    if language is Language.ZH:
        lines += [f"{_LABELS[name].zh}：{value}" for name, value in facts]
    else:
        lines += [f"{_LABELS[name].en + ':':<10}{value}" for name, value in facts]
    return "\n".join(lines) + "\n"

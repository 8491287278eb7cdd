"""What is told of tasks: events, logs, the end of one, and the live streams."""

from tunesmith import views
from tunesmith.autopsy import AttemptFacts, Autopsy, WorkerLines
from tunesmith.errors import Fault
from tunesmith.events import Metrics
from tunesmith.lifecycle import REASONS, Reason, State
from tunesmith.workspace import Changed, TaskLine
from tunesmith_platform.examples.common import TASK_ID, TIME
from tunesmith_platform.examples.tasks import CHECKPOINTS, TASK

EVENTS = views.Page[views.EventView](
    data=[views.EventView(n=12, attempt=1, time=TIME, payload=Metrics(step=40, values={"loss": 1.93}))],
    has_more=False,
)
LOGS = views.Page[views.LogView](
    data=[views.LogView(n=3, time=TIME, level="info", source="worker-0", message="198 rows encoded.")],
    has_more=False,
)
LOG_TEXT = "2026-11-21T09:30:00.000+00:00 info    worker-0  198 rows encoded.\n"
AUTOPSY = Autopsy(
    task_id=TASK_ID,
    name=TASK.name,
    state=State.FAILED,
    reason=Reason.OUT_OF_MEMORY,
    cause=REASONS[Reason.OUT_OF_MEMORY].words,
    message="CUDA out of memory. Tried to allocate 2.00 GiB.",
    fault=Fault.USER,
    next_step=REASONS[Reason.OUT_OF_MEMORY].next_step,
    ended_at=TIME,
    last_step=57,
    total_steps=150,
    last_checkpoint=CHECKPOINTS.data[0],
    steps_lost=7,
    attempts=[
        AttemptFacts(
            number=1, created_at=TIME, ended_at=TIME, outcome=State.FAILED, reason=Reason.OUT_OF_MEMORY
        )
    ],
    workers=[WorkerLines(source="worker-0", lines=LOGS.data)],
    memory=[views.MetricPoint(step=57, value=23.4e9, time=TIME, attempt=1)],
    peak_memory_bytes=23.4e9,
)
EXPOSITION = (
    "# HELP tunesmith_tasks Tasks, by state.\n# TYPE tunesmith_tasks gauge\n"
    'tunesmith_tasks{state="running"} 1.0\n'
)
STREAM = f"id: 12\nevent: metrics\ndata: {EVENTS.data[0].model_dump_json()}\n\nevent: end\ndata: {{}}\n\n"
WORKSPACE_STREAM = (
    'id: 5f3a-0\nevent: tasks\ndata: {"kind":"tasks","position":"5f3a-0","tasks":[]}\n\n'
    "id: 5f3a-1\nevent: task\ndata: "
    f"{Changed(position='5f3a-1', task=TaskLine.model_validate(TASK.model_dump())).model_dump_json()}\n\n"
)

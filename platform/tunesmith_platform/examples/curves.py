"""What tasks measured."""

from tunesmith import views
from tunesmith.curves import Axis, ComparedTask, Comparison, Curve, Curves, Mode, Score
from tunesmith_platform.examples.common import TASK_ID, TIME
from tunesmith_platform.examples.tasks import TASK

METRICS = views.Metrics(series={"loss": [views.MetricPoint(step=40, value=1.93, time=TIME, attempt=1)]})
_CURVE = Curve(
    task_id=TASK_ID,
    name="loss",
    count=2,
    bucket=1,
    x=[39, 40],
    step=[39, 40],
    value=[1.97, 1.93],
    time=[1795253399.5, 1795253400.0],
    attempts=[1, 1],
)
CURVES = Curves(x=Axis.STEP, mode=Mode.MERGED, curves=[_CURVE])
_SCORE = Score(
    name="loss",
    count=40,
    last=1.93,
    last_step=40,
    lowest=1.91,
    lowest_step=37,
    highest=3.2,
    highest_step=1,
)
COMPARISON = Comparison(x=Axis.STEP, tasks=[ComparedTask(task=TASK, scores=[_SCORE])], curves=[_CURVE])
METRICS_CSV = "name,attempt,segment,step,value,time\r\nloss,1,0,40,1.93,2026-11-21T09:30:00+00:00\r\n"

"""What several examples share."""

import datetime as dt

TIME = dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC)
TASK_ID = "task-01k9xq7c2m5d8e4f9g"

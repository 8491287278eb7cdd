#!/usr/bin/env bash
# ray 2.60.0, jobs submitted over the dashboard's REST API (Linux).
#
# The first line that Ray itself writes into a job's log ("Running entrypoint for job ...") is not always its first line.
# For an entrypoint that ends within milliseconds it may stand behind everything that the job wrote, or in the middle of
# the job's last line where that has no newline: Ray opens the file, leaves its line in a buffer, starts the job on the same
# file, and only then closes its own side. Whoever shows "the last line of the log" of a job that failed at once then shows
# Ray's command line in place of the error.
#
# Seen: `echo` as the entrypoint, Ray's own method that starts it: the line stood last in 229 of 300 logs; with a shell
# script that takes a few milliseconds longer, in 1 of 150. What helps: remove Ray's line wherever it stands.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[default]==2.60.0"
"$folder/venv/bin/python" - "$folder" <<'PY'
import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.dashboard.modules.job.job_supervisor import JobSupervisor

# The order is a race: Ray's own method that starts a job is run forty times.
turned = 0
supervisor = object.__new__(JobSupervisor)
supervisor._job_id, supervisor._entrypoint = "job-1", "echo last words"
path = os.path.join(sys.argv[1], "log")
for _ in range(40):
    supervisor._exec_entrypoint(dict(os.environ), path).wait()
    with open(path) as log:
        lines = log.read().splitlines()
    os.remove(path)
    assert len(lines) == 2 and "last words" in lines, lines
    turned += lines[-1] != "last words"
print(f"Ray's own line stood last in {turned} of 40 logs")
assert turned > 0, "the behaviour has changed: Ray's own line always comes first"
PY

#!/usr/bin/env bash
# ray 2.60.0, `ray start --head --block` and the dashboard's REST API (Linux).
#
# While a Ray starts, its dashboard answers before its node is there: `GET /api/v0/nodes` gives HTTP 200 and an empty list,
# no error and nothing that says "starting". Whoever adds up resources from that list sees a cluster without processors
# and without GPUs: a check like "does the cluster have a GPU?" says no, and refuses what would run a moment later.
#
# Seen: 19 such answers in the 2.1 s after the first answer; up to 5 s on a busy machine. Without `--block` the command
# returns only once the node is listed. What helps: take an empty list as "not known yet" and ask again.
set -euo pipefail
folder=$(mktemp -d)
trap '"$folder/venv/bin/python" "$folder/end.py" || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[default]==2.60.0"
cat >"$folder/end.py" <<'PY'
# Ends what this script started: the processes whose session folder lies in its own.
import os
import sys

import psutil

folder = os.path.dirname(os.path.abspath(sys.argv[0]))
ours = [p for p in psutil.process_iter(["cmdline", "pid"]) if folder in " ".join(p.info["cmdline"] or [])]
for process in ours:
    if process.pid != os.getpid():
        process.kill()
PY
"$folder/venv/bin/pip" install --quiet psutil
"$folder/venv/bin/python" - "$folder" <<'PY'
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

folder = sys.argv[1]
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


port, dashboard = free_port(), free_port()
ray = os.path.join(folder, "venv/bin/ray")
started = subprocess.Popen(
    [ray, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--dashboard-host=127.0.0.1",
     f"--dashboard-port={dashboard}", f"--temp-dir={folder}/r", "--num-cpus=1", "--include-dashboard=true", "--block"],
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"RAY_AUTH_MODE": "disabled"},
)
began, first, empty = time.monotonic(), None, 0
while time.monotonic() - began < 60:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{dashboard}/api/v0/nodes", timeout=30) as reply:
            nodes = json.load(reply)["data"]["result"]["result"]
    except OSError:
        time.sleep(0.1)
        continue
    first = first or time.monotonic()
    if nodes:
        break
    empty += 1
    time.sleep(0.1)
print(f"{empty} answers with HTTP 200 named no node, for {time.monotonic() - first:.1f} s after the first answer")
assert nodes, "no node was ever named"
assert empty > 0, "the behaviour has changed: the first answer names the node"
PY

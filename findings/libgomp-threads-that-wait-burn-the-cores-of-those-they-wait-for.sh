#!/usr/bin/env bash
# torch 2.13.0 on a CPU, which brings libgomp; xllamacpp 2026.10 uses the system's, with the same effect.
#
# Threads that share a computation wait for each other at the end of each operation, by trying again some hundred thousand
# times before they sleep. Where other processes are on the same cores, the one that is waited for does not run: it waits
# for the core on which the other one tries. libgomp sees only its own threads and goes on trying. Two threads are then
# much slower than one, and burn ten times the processor time.
#
# Seen (2 cores, two busy processes beside it): 5 to 12 times as many passes with `GOMP_SPINCOUNT=0`, llama.cpp 34 tokens/s
# for 1.4.
# What helps: `GOMP_SPINCOUNT=0` in the process' environment before it loads the library; one thread where cores are shared.
set -euo pipefail
folder=$(mktemp -d)
busy=()
trap 'kill "${busy[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" numpy
for _ in $(seq "$(nproc)"); do
  python3 -c 'while True: pass' &
  busy+=($!)
done
cat >"$folder/passes.py" <<'PY'
import os
import time

import torch

torch.set_num_threads(os.cpu_count())
layers = [torch.nn.Linear(576, 576) for _ in range(60)]
x, passes = torch.randn(64, 576), 0
with torch.no_grad():
    end = time.monotonic() + 8
    while time.monotonic() < end:
        for layer in layers:
            x = torch.relu(layer(x))
        passes += 1
print(passes)
PY
tries=$("$folder/venv/bin/python" "$folder/passes.py")
sleeps=$(GOMP_SPINCOUNT=0 "$folder/venv/bin/python" "$folder/passes.py")
echo "passes in 8 seconds beside busy processes: $tries as it is, $sleeps with GOMP_SPINCOUNT=0"
if [ "$(nproc)" -gt 1 ]; then
  [ "$sleeps" -gt $((tries * 2)) ] || { echo "the behaviour has changed: threads that wait give way"; exit 1; }
fi

#!/usr/bin/env bash
# pytest 9.2.0, pytest-xdist 3.8.0.
#
# A test that ends its worker's process is a failure. With `--dist load` it is run once, and a new worker runs what is left.
# With `--dist loadscope` the module goes to the next worker with that test still in it, which ends that one too: once a
# worker, until `--max-worker-restart` (4 a worker) is reached. What stands behind the test in its module never runs, and
# the summary counts one test as five failures.
#
# Seen, of three tests whose second ends its process, one worker:
#   load: 1 failed, 2 passed
#   loadscope: 5 failed, 1 passed
# What helps: a scheduler of one's own that takes the test from what is handed out again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pytest==9.2.0" "pytest-xdist==3.8.0"
mkdir "$folder/tests"
cat > "$folder/tests/test_three.py" <<'PY'
import os


def test_first():
    pass


def test_that_ends_its_process():
    os._exit(3)


def test_last():
    pass
PY
seen() {
    (cd "$folder/tests" && "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider -n 1 --dist "$1" . 2>&1 || true) |
        grep -o "[0-9]* failed, [0-9]* passed"
}
for expected in "load: 1 failed, 2 passed" "loadscope: 5 failed, 1 passed"; do
    found="${expected%%:*}: $(seen "${expected%%:*}")"
    echo "$found"
    [ "$found" = "$expected" ]
done

#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.
#
# `--dist loadgroup` with `@pytest.mark.xdist_group(...)` is to run all tests of one group in one worker. With this pair it
# keeps none together: the plugin appends the group to the item's private node id, which this pytest no longer reads where
# the ids are collected, so that the scheduler sees plain ids and deals out single tests. There is no warning. What a group
# shares (a server, a database) is then started once in every worker. `--dist loadscope` is not concerned.
#
# What helps: a scheduler of one's own (`pytest_xdist_make_scheduler`), or one module a group and `loadscope`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pytest==9.2.0" "pytest-xdist==3.8.0"
cat > "$folder/test_groups.py" <<'PY'
import os
import pathlib
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("n", range(8))
def test_of_one_group(n):
    time.sleep(0.2)
    pathlib.Path(__file__).with_name(f"ran-{n}").write_text(os.environ["PYTEST_XDIST_WORKER"])
PY
(cd "$folder" && "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup test_groups.py)
workers=$(cat "$folder"/ran-* | sed 's/gw/\ngw/g' | grep gw | sort -u | wc -l)
echo "the eight tests of one group ran in $workers workers"
[ "$workers" -eq 2 ] || { echo "the behaviour has changed: a group stays in one worker"; exit 1; }

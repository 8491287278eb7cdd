"""The data image's start: keys come from files, and stand in the environment of no process that it starts."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra/images/data.sh"
_SHOWS = """#!/bin/sh
# Stands in for a server: says what it is started with.
exec >> "$(dirname "$0")/../shown"
echo "$(basename "$0") $*"
env | sed 's/^/environment: /'
for word in "$@"; do
  file=${word#*=}
  [ ! -f "$file" ] || sed 's/^/file: /' "$file"
  case "$word" in */pg.part) mkdir -p "$word"; touch "$word/pg_hba.conf" ;; esac
done
"""
PARTS = {
    "postgres": (["POSTGRES_PASSWORD"], ["initdb", "pg_ctl", "createdb", "postgres"]),
    "s3": (["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], ["weed"]),
    "redis": (["REDIS_PASSWORD"], ["redis-server"]),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("by_file", [True, False])
def test_a_part_takes_its_keys_from_files(tmp_path: Path, part: str, by_file: bool) -> None:
    names, programs = PARTS[part]
    for folder in ("bin", "data", "tmp"):
        (tmp_path / folder).mkdir()
    for program in programs:
        (tmp_path / "bin" / program).write_text(_SHOWS)
        (tmp_path / "bin" / program).chmod(0o755)
    script = tmp_path / "data.sh"
    script.write_text(
        SCRIPT.read_text().replace("/data/", f"{tmp_path}/data/").replace("/tmp/", f"{tmp_path}/tmp/")
    )
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    keys = {name: f"canary $of `{name}`" for name in names}
    for name, key in keys.items():
        (tmp_path / name).write_text(key)
        environment |= {f"{name}_FILE": str(tmp_path / name)} if by_file else {name: key}
    subprocess.run(["sh", script, part], env=environment, check=True, timeout=60)
    lines = (tmp_path / "shown").read_text().splitlines()
    told = [line for line in lines if line.startswith("environment: ")]
    assert told
    for key in keys.values():
        assert any(key in line for line in lines if line.startswith("file: ")), "the server knows it"
        assert any(key in line for line in told) is not by_file, "and of a file no environment does"

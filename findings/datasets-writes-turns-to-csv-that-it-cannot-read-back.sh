#!/usr/bin/env bash
# datasets 5.2.0.
#
# Rows of `messages` whose turns have unlike keys (one calls a tool, another does not) are read as the type `List(Json)`.
# `Dataset.to_csv` writes such a list as numpy prints an array of texts: the turns in quotes, one behind the other, with no
# comma between them. That is neither JSON nor what `json.loads` or `ast.literal_eval` give back: Python joins neighbouring
# texts, so that two turns become one text. There is no warning, and `load_dataset("csv")` reads the column as a text.
# Turns with equal keys are written as Python's own list, which a reader of literals takes; `to_json` keeps both.
#
# What helps: `to_json` or `to_parquet`, or `json.dumps` over the column before `to_csv`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "datasets==5.2.0"
cat > "$folder/write.py" <<'PY'
import ast
import csv
import json
import pathlib
import sys

import datasets

folder = pathlib.Path(sys.argv[1])
turns = [
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]},
]
(folder / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
rows = datasets.load_dataset("json", data_files=str(folder / "rows.jsonl"), split="train", cache_dir=str(folder / "cache"))
print(rows.features)
rows.to_csv(str(folder / "rows.csv"))
(_, written), *_ = [(None, row["messages"]) for row in csv.DictReader((folder / "rows.csv").open(newline=""))]
print(written)
try:
    json.loads(written)
    sys.exit("the behaviour has changed: it is JSON")
except ValueError as error:
    print("as JSON:", error)
back = ast.literal_eval(written)
print("as a Python literal:", len(back), "turns of", len(turns))
sys.exit("the behaviour has changed: every turn comes back" if len(back) == len(turns) else 0)
PY
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/write.py" "$folder"

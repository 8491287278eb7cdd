"""What a file takes in llama.cpp at a context, beside what `packages which` says of it: the process's own memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import small_models

from tunesmith.gguf import FileType, forecast, write_gguf
from tunesmith_platform.packaging.which import memory_of

pytest.importorskip("xllamacpp")
ASK = """
import sys
from pathlib import Path
from tunesmith_jobs.models.llama_cpp import CHUNK, Fed, Model


def held():
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


before, context = held(), int(sys.argv[2])
model = Model(sys.argv[1], 1, context, 1)
for begin in range(0, 2 * CHUNK, CHUNK):
    model.compute(None, [Fed(0, 5, begin + place, place == CHUNK - 1) for place in range(CHUNK)])
print(held() - before)
"""


@pytest.mark.parametrize("context", [4096, 16_384])
def test_memory_is_told_within_a_fifth(context: int, tmp_path: Path) -> None:
    """Of a model whose keys and values are most of it, as those of a long talk are."""
    heads = {"num_key_value_heads": 4, "head_dim": 128, "num_hidden_layers": 6}
    folder = small_models.model_of("llama", tmp_path / "model", max_position_embeddings=context, **heads)
    file = write_gguf(folder, tmp_path / "model.gguf", FileType.F16).path
    said = memory_of(file.stat().st_size, context, forecast(folder)._asdict())
    asked = [sys.executable, "-c", ASK, str(file), str(context)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120)
    # Whether the kernel maps programs' files by pages of 2 MB, as it finds them free, is worth some megabytes.
    assert said == pytest.approx(int(done.stdout), rel=0.2, abs=2e7)

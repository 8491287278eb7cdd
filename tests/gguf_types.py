"""Small models whose quantised files are held to llama.cpp's own quantiser. No test itself.

Run with a folder of llama.cpp's shared libraries that have `llama_model_quantize` (the npm package
`@node-llama-cpp/linux-x64` brings them), this writes what that quantiser makes of them anew:
`python tests/gguf_types.py FOLDER`. Each file of it is kept as the sha256 of its tensors and their types.
"""

import ctypes as c
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tiny_model import make_tokenizer_folder

from tunesmith.gguf import FileType, Importance, collected, write_gguf
from tunesmith.gguf.architectures import architecture_of

KNOWN = Path(__file__).parent / "data" / "gguf_types.json"
_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 256,
    "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "vocab_size": 700, "tie_word_embeddings": False, "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "shared heads": {},
    "tied, 16 layers": {"tie_word_embeddings": True, "num_key_value_heads": 8, "num_hidden_layers": 16},
    "rows of 96": {"hidden_size": 96, "intermediate_size": 224, "num_attention_heads": 4},
    "rows of 80": {
        "hidden_size": 80,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
    },
}
"""By what makes the rules choose otherwise: how many share a value, which layer it is, how wide a row is."""


def make_model(folder: Path, **config: Any) -> Path:
    """A model of random weights, the same on every machine."""
    make_tokenizer_folder(folder)
    values = _LLAMA | config
    (folder / "config.json").write_text(json.dumps(values))
    drawn = np.random.Generator(np.random.PCG64(1))
    header: dict[str, Any] = {}
    pieces, at = [], 0
    for name, tensor in architecture_of(values).tensors().items():
        # Whole numbers of a 64th: no machine draws them otherwise.
        piece = (drawn.integers(-512, 512, tensor.shape) / 64).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(piece)]}
        pieces.append(piece)
        at += len(piece)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(pieces))
    return folder


def make_matrix(folder: Path) -> Importance:
    """An importance matrix of a model of `make_model`, the same on every machine; of the head none, as usual."""
    architecture = architecture_of(json.loads((folder / "config.json").read_text()))
    shapes = {name: tensor.shape for name, tensor in architecture.tensors().items() if len(tensor.shape) > 1}
    names = architecture.names_in_file(shapes)
    drawn = np.random.Generator(np.random.PCG64(2))
    sums = {
        names[name]: drawn.integers(1, 4096, shape[-1]).astype(np.float64) ** 2 / 64
        for name, shape in shapes.items()
        if names[name].startswith("blk.")
    }
    return collected(sums, dict.fromkeys(sums, 96), chunk=32, chunks=3, sources=("drawn",))


def print_of(file: Path) -> str:
    """What a file's tensors are, with their types, whatever their order."""
    from gguf import GGUFReader

    digest = hashlib.sha256()
    for tensor in sorted(GGUFReader(file).tensors, key=lambda one: one.name):
        digest.update(f"{tensor.name} {tensor.tensor_type.name}\n".encode())
        digest.update(tensor.data.tobytes())
    return digest.hexdigest()


class _Settings(c.Structure):
    _fields_ = (
        ("threads", c.c_int32),
        ("type", c.c_int32),
        ("types_of_ends", c.c_int32 * 2),
        ("truths", c.c_bool * 6),
        ("importance", c.c_void_p),
        ("rest", c.c_uint8 * 224),
    )


class _Matters(c.Structure):
    _fields_ = (("name", c.c_char_p), ("numbers", c.POINTER(c.c_float)), ("size", c.c_size_t))


def _as_given(matrix: Importance) -> Any:
    """A matrix as the quantiser's library takes it: its means, and a last one that is none."""
    means = {name: sums / np.float32(matrix.counts[name]) for name, sums in matrix.sums.items()}
    found = (_Matters * (len(means) + 1))()
    for place, (name, mean) in enumerate(means.items()):
        found[place] = _Matters(name.encode(), mean.ctypes.data_as(c.POINTER(c.c_float)), mean.size)
    found.keep = means
    return found


def key_of(file_type: FileType, has_matrix: bool) -> str:
    """What a file is called in `KNOWN`."""
    return f"{file_type} with a matrix" if has_matrix else file_type.value


def _reference(libraries: Path) -> dict[str, dict[str, str]]:
    """What llama.cpp's own quantiser makes of the models."""
    c.CDLL(str(next(libraries.glob("libggml-base*"))), mode=c.RTLD_GLOBAL)
    ggml = c.CDLL(str(next(libraries.glob("libggml.*"))), mode=c.RTLD_GLOBAL)
    llama = c.CDLL(str(next(libraries.glob("libllama.*"))))
    ggml.ggml_backend_load_all_from_path(str(libraries).encode())
    llama.llama_model_quantize_default_params.restype = _Settings
    llama.llama_model_quantize.argtypes = [c.c_char_p, c.c_char_p, c.POINTER(_Settings)]
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, config in MODELS.items():
            folder = make_model(Path(scratch) / name, **config)
            source = write_gguf(folder, Path(scratch) / f"{name}.gguf", FileType.F32).path
            matters = _as_given(make_matrix(folder))
            for file_type in FileType:
                if not file_type.is_quantised:
                    continue
                for has_matrix in (False, True) if not file_type.needs_matrix else (True,):
                    settings = llama.llama_model_quantize_default_params()
                    settings.type = file_type.number
                    settings.importance = c.addressof(matters) if has_matrix else None
                    target = Path(scratch) / "made.gguf"
                    ended = llama.llama_model_quantize(
                        str(source).encode(), str(target).encode(), c.byref(settings)
                    )
                    assert ended == 0, (name, file_type)
                    found.setdefault(name, {})[key_of(file_type, has_matrix)] = print_of(target)
                    target.unlink()
    return found


if __name__ == "__main__":
    KNOWN.write_text(json.dumps(_reference(Path(sys.argv[1])), indent=1) + "\n")

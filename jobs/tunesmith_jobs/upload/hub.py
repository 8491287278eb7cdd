"""A repository of the Hub that files are brought to: each once, then one commit that shows them all.

A file is sent by content (LFS): what the Hub has is not sent again, so an upload that was cut off goes on, and nobody
sees half of one. By HTTP and not by Xet: bytes can be counted, stopped and tried here. The address is the environment's
(`HF_ENDPOINT`) and no parameter: who may name one could have the token sent anywhere. Knows the Hub's own library;
knows no task.
"""

import base64
import functools
import io
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tunesmith.artifacts import ManifestFile
from tunesmith.errors import InvalidData, InvalidInput, Unavailable

_TRIES = 8
_LONGEST_PAUSE = 60.0
_SECONDS = "30"
_TELL_ADDRESSES = ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3")
"""Loggers that write each address down: those of parts are signed, and let whoever has them write."""
CARD = "README.md"
SAMPLE_BYTES = 512
"""Of a file's beginning, which the Hub tells texts from weights by."""
_AT_ONCE = 256
"""Files that the Hub is asked of in one call."""


class Repository:
    """One repository, with who may write to it.

    Args:
        name: `owner/name`.
        revision: The branch; the main one when None.
        token: Shown to the Hub alone.
        check: Asked before each piece; what it raises ends the upload.
    """

    def __init__(self, name: str, revision: str | None, token: str, check: Callable[[], None]) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", _SECONDS)
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        for name_of_logger in _TELL_ADDRESSES:
            logging.getLogger(name_of_logger).setLevel(logging.WARNING)
        self._name, self._revision, self._check = name, revision, check
        self._token = token
        self._api = HfApi(token=token)
        self._operations: list[Any] = []
        self.endpoint = str(self._api.endpoint)

    def ensure(self, *, public: bool) -> None:
        """Make it where there is none.

        Raises:
            InvalidInput: The token may not write there, or it is public and is not to be.
            Unavailable: The Hub does not answer.
        """
        wanted = "public" if public else "private"
        self._tried(lambda: self._api.create_repo(self._name, visibility=wanted, exist_ok=True))
        found = self._tried(lambda: self._api.repo_info(self._name))
        if not public and not found.private:
            raise InvalidInput(
                f"`{self._name}` is there and everybody may see it.",
                hint="Give another repository, or say that it may be public: `--public`.",
                field="public",
            )
        if self._revision:
            branch = self._revision
            self._tried(lambda: self._api.create_branch(self._name, branch=branch, exist_ok=True))

    def check_card(self, card: bytes) -> None:
        """See that the Hub takes a card; it does so without a repository, and else says it once all was sent.

        Raises:
            InvalidInput: It refuses the card, with its words.
            Unavailable: The Hub does not answer.
        """
        said = {"content": card.decode(errors="replace"), "repoType": "model"}
        found = self._tried(lambda: self._asked("/api/validate-yaml", said, refusing=(400,)))
        if wrong := [str(one.get("message", "")) for one in found.get("errors", [])]:
            raise InvalidInput(
                f"The Hub refuses the card (`{CARD}`): {'; '.join(wrong)[:300]}",
                hint="Name the base as the Hub knows it (`owner/name`) and its license, and package again.",
                field="task_id",
            )

    def check_files(self, files: Mapping[str, tuple[ManifestFile, bytes]]) -> None:
        """See that the Hub takes each file, before the first of them is sent: it has a place there, and room.

        Args:
            files: By their names, what each must be and how it begins (`SAMPLE_BYTES`).

        Raises:
            InvalidInput: It refuses one, with its words, or the token may not write there.
            Unavailable: The Hub does not answer.
        """
        from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info
        from huggingface_hub.utils import chunk_iterable

        large: list[ManifestFile] = []
        for some in chunk_iterable(files.values(), _AT_ONCE):
            sent = [
                {"path": file.path, "size": file.bytes, "sample": base64.b64encode(sample).decode()}
                for file, sample in some
            ]
            place = f"/api/models/{self._name}/preupload/{quote(self._revision or 'main', safe='')}"
            asked = functools.partial(self._asked, place, {"files": sent})
            for told in self._tried(asked)["files"]:
                file = files[told["path"]][0]
                if told.get("shouldIgnore"):
                    raise InvalidInput(
                        f"`{self._name}` takes no `{file.path}`: its `.gitignore` leaves it out.",
                        hint="Change the `.gitignore` there, or give another repository.",
                        field="repo_id",
                    )
                large += [file] if told["uploadMode"] == "lfs" and file.bytes else []
        for some in map(list, chunk_iterable(large, _AT_ONCE)):
            infos = [UploadInfo(file.bytes, b"", bytes.fromhex(file.sha256)) for file in some]
            batch = functools.partial(
                post_lfs_batch_info, infos, self._token, "model", self._name, self._revision, self.endpoint
            )
            _, errors, _ = self._tried(batch)
            if errors:
                names = {file.sha256: file.path for file in some}
                name = names.get(str(errors[0].get("oid")), "?")
                raise InvalidInput(
                    f"The Hub takes no `{name}`: {str(errors[0]['error'].get('message', ''))[:300]}",
                    hint="A file may be too large (`--set split_size=20G` parts it), or the owner's room used up.",
                    field="repo_id",
                )

    def _asked(self, path: str, said: Mapping[str, Any], refusing: tuple[int, ...] = ()) -> Any:
        """What the Hub answers to a question of its API, as JSON; also with a status that is an answer here."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = build_hf_headers(token=self._token)
        answer = get_session().post(f"{self.endpoint}{path}", json=said, headers=headers)
        if answer.status_code not in refusing:
            hf_raise_for_status(answer)
        return answer.json()

    def send(self, path: Path, file: ManifestFile, more: Callable[[int], None]) -> bool:
        """Send a file; returns whether the Hub had it already.

        Args:
            path: Where it lies.
            file: What it must be.
            more: Told how many bytes more are sent; fewer where some have to be sent again.

        Raises:
            InvalidData: It is not what was stored.
            InvalidInput: The token may not write there.
            Unavailable: The Hub does not answer.
        """
        from huggingface_hub import CommitOperationAdd

        self._check()
        with _Counted(path, self._check) as stream:
            operation = CommitOperationAdd(file.path, stream)
            if (operation.upload_info.sha256.hex(), operation.upload_info.size) != (file.sha256, file.bytes):
                raise InvalidData(f"`{file.path}` is not what was stored.", hint="Make the package again.")
            stream.told = more
            self._tried(
                lambda: self._api.preupload_lfs_files(
                    self._name, [operation], revision=self._revision, free_memory=False, num_threads=1
                )
            )
            was_there, stream.told = stream.sent == 0 and file.bytes > 0, lambda count: None
            if operation._upload_mode == "regular":  # small texts travel in the commit itself
                stream.seek(0)
                operation.path_or_fileobj = stream.read()
                was_there = False
                more(file.bytes)
            else:
                operation.path_or_fileobj = b""
        self._operations.append(operation)
        return was_there

    def commit(self, message: str) -> str:
        """Let all files that were sent appear at once; returns the commit.

        Raises:
            InvalidInput: The Hub refuses the card, or the token may not write there.
            Unavailable: The Hub does not answer.
        """
        found = self._tried(
            lambda: self._api.create_commit(
                self._name, self._operations, commit_message=message[:200], revision=self._revision
            )
        )
        return str(found.oid)

    def _tried(self, call: Callable[[], Any]) -> Any:
        """Call, and again where the Hub is away or busy.

        Raises:
            InvalidInput: It refuses.
            Unavailable: It stays away.
        """
        for tries in range(_TRIES):
            self._check()
            try:
                return call()
            except (
                Exception
            ) as error:  # which HTTP library the Hub's client uses, and so what it raises, changes
                refusal = self._refusal(error)
                if refusal is not None:
                    raise refusal from None  # its chain names addresses that are signed
                if tries == _TRIES - 1:
                    raise Unavailable(
                        f"The Hub does not answer at `{self.endpoint}`: {self._words(error)}",
                        hint="Upload again later: it goes on where it was.",
                    ) from None
            self._wait(min(_LONGEST_PAUSE, 2.0**tries))
        raise AssertionError

    def _refusal(self, error: Exception) -> Exception | None:
        """What no further try would change; None where one may."""
        from tunesmith_jobs.failures import Stopped, Superseded

        for cause in _chain(error):
            if isinstance(cause, Stopped | Superseded | InvalidInput | InvalidData):
                return cause
        status = next((code for cause in _chain(error) if (code := _status(cause)) is not None), None)
        if status in (401, 403):
            return InvalidInput(
                f"The token may not write to `{self._name}` ({status}).",
                hint="Give a token with the right to write, of a member of the owner.",
                field="token",
            )
        if isinstance(error, ValueError) and status is None:
            return InvalidInput(f"The Hub refuses it: {self._words(error)}", field="repo_id")
        if status is not None and 400 <= status < 500 and status not in (408, 409, 412, 425, 429):
            return InvalidInput(f"The Hub refuses it ({status}): {self._words(error)}", field="repo_id")
        return None

    def _words(self, error: Exception) -> str:
        """What an error says, without a token or a signed address."""
        said = str(error).replace(self._token, "***")
        words = " ".join(word.partition("?")[0] if "://" in word else word for word in said.split())
        return f"{type(error).__name__}: {words[:300]}"

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(0.5, left))


class _Counted(io.BufferedReader):
    """A file that says how much of it was read, and asks before each piece whether that is wanted."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(path.open("rb", buffering=0), 2**20)
        self._check_wanted = check
        self.told: Callable[[int], None] | None = None
        self.sent = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BufferedReader.read`."""
        self._check_wanted()
        before = self.tell()
        found = super().read(size)
        self._count(before + len(found))
        return found

    def seek(self, place: int, whence: int = 0, /) -> int:
        """See `io.BufferedReader.seek`; a part that is sent again is not there yet."""
        at = super().seek(place, whence)
        if at < self.sent:
            self._count(at)
        return at

    def _count(self, place: int) -> None:
        if self.told is not None and place != self.sent:
            self.told(place - self.sent)
            self.sent = place


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _status(error: BaseException) -> int | None:
    answer = getattr(error, "response", None)
    code = getattr(answer, "status_code", None)
    return code if isinstance(code, int) else None

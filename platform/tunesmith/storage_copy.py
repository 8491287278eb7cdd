"""What pyarrow has no request for in a bucket: copies of large files in parts, and giving up what was never finished.

boto3 has both, where it is installed. Knows S3's rules; knows nothing of what is stored.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

AT_ONCE = 5 * 2**30
"""What one request may copy, by S3's rules; a larger file is copied in parts."""
PART = 2**30
"""Of a copy in parts: there may be 10 000 of them, each of 5 MiB to 5 GiB."""
_log = logging.getLogger("tunesmith.storage")


def copied_in_parts(source: str, target: str) -> bool:
    """Have the server copy a large file, and see that nothing is left of a copy that fails.

    Of one that was killed its parts are left: `give_up_uploads` is for whoever writes there next, or removes the place.

    Args:
        source: The bucket and the key, parted by the first `/`.
        target: Likewise.

    Returns:
        Whether it was copied: not where boto3 is not installed.

    Raises:
        OSError: The server refuses, or does not answer, or the file is another one before it is copied whole.
    """
    try:
        import boto3  # noqa: F401  (`_client` takes it)
        from boto3.s3.transfer import TransferConfig
        from s3transfer.exceptions import S3CopyFailedError
    except ImportError:
        return False
    bucket, _, key = target.partition("/")
    given: dict[str, Any] = dict(zip(("Bucket", "Key"), source.split("/", 1), strict=True))
    parts = TransferConfig(multipart_threshold=AT_ONCE, multipart_chunksize=PART)
    with _told(S3CopyFailedError):
        _client().copy(given, bucket, key, Config=parts)
    return True


def give_up_uploads(folder: str) -> int:
    """Give up every upload into a folder that was begun and not ended: a bucket keeps, and counts, its parts for ever.

    Nothing is done where boto3 is not installed, and it is said where the server refuses: what they hold is only space.
    MinIO names none below a folder, and gives them up itself after a day.

    Args:
        folder: Its URI; of a folder that is in no bucket nothing is kept.

    Returns:
        How many there were.
    """
    scheme, _, place = folder.partition("://")
    if scheme != "s3":
        return 0
    bucket, _, key = place.partition("/")
    count = 0
    try:
        with _told():
            client = _client()
            for page in client.get_paginator("list_multipart_uploads").paginate(
                Bucket=bucket, Prefix=f"{key}/"
            ):
                for one in page.get("Uploads", ()):
                    client.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
                    count += 1
    except ImportError:
        return 0
    except OSError as error:
        _log.warning("What was not uploaded whole stays in `%s`: %s", folder, error)
    return count


def _client() -> Any:
    import boto3
    from botocore.config import Config

    # A server of one's own is asked by its own name, as pyarrow asks it.
    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"
    config = Config(connect_timeout=10, read_timeout=300, s3={"addressing_style": style})
    # A session of its own: boto3's common one may not be asked by several threads.
    return boto3.session.Session().client("s3", config=config)


@contextlib.contextmanager
def _told(*more: type[Exception]) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, *more) as error:
        raise OSError(str(error)) from error

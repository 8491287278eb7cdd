"""Large files that a bucket's server copies itself, in parts. Knows S3's rules; knows nothing of what is stored."""

import os
from typing import Any

AT_ONCE = 5 * 2**30
"""What one request may copy, by S3's rules; a larger file is copied in parts."""
PART = 2**30
"""Of a copy in parts: there may be 10 000 of them, each of 5 MiB to 5 GiB."""


def copied_in_parts(source: str, target: str) -> bool:
    """Have the server copy a large file, and see that nothing is left of a copy that fails.

    pyarrow has no request for it; boto3 has, where it is installed.

    Args:
        source: The bucket and the key, parted by the first `/`.
        target: Likewise.

    Returns:
        Whether it was copied: not where boto3 is not installed.

    Raises:
        OSError: The server refuses, or does not answer.
    """
    try:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return False
    # A server of one's own is asked by its own name, as pyarrow asks it.
    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"
    config = Config(connect_timeout=10, read_timeout=300, s3={"addressing_style": style})
    bucket, _, key = target.partition("/")
    given: dict[str, Any] = dict(zip(("Bucket", "Key"), source.split("/", 1), strict=True))
    parts = TransferConfig(multipart_threshold=AT_ONCE, multipart_chunksize=PART)
    try:
        boto3.client("s3", config=config).copy(given, bucket, key, Config=parts)
    except (BotoCoreError, ClientError) as error:
        raise OSError(str(error)) from error
    return True

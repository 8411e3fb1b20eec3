"""The files of exports and imports: in one bucket, under the user's own prefix, gone after a day."""

import codecs
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError

from practice.errors import Invalid, Problem
from practice.runtime import aws
from practice.runtime.config import config

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

LINK_SECONDS: Final = 3600
PART_BYTES: Final = 8 * 1024 * 1024
"""S3 takes parts of 5 MB and more."""
LINE_CHARACTERS: Final = 16 * 1024 * 1024
"""More than any line of an export has; a file without line ends is not held in memory."""
CONTENT_TYPE: Final = "application/x-ndjson"


@lru_cache(maxsize=1)
def client() -> "S3Client":
    made: S3Client = aws.client(
        "s3",
        ClientConfig(
            signature_version="s3v4", connect_timeout=3, read_timeout=30, s3={"addressing_style": "path"}
        ),
    )
    return made


def name(user_id: int, transfer_id: int) -> str:
    return f"{user_id}/{transfer_id}.ndjson"


def write(key: str, lines: Iterable[str]) -> None:
    """In parts, so that the file may be larger than the memory; a failure leaves no file."""
    bucket = _bucket()
    upload = client().create_multipart_upload(Bucket=bucket, Key=key, ContentType=CONTENT_TYPE)["UploadId"]
    parts: list[Any] = []

    def send(chunk: bytes) -> None:
        number = len(parts) + 1
        sent = client().upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=chunk)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    try:
        held = bytearray()
        for line in lines:
            held += line.encode() + b"\n"
            if len(held) >= PART_BYTES:
                send(bytes(held))
                held.clear()
        send(bytes(held))
        client().complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )
    except BaseException:
        client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise


def size(key: str) -> int | None:
    """None while there is no such file."""
    try:
        return client().head_object(Bucket=_bucket(), Key=key)["ContentLength"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return None
        raise


def lines(key: str) -> Iterator[str]:
    """Without a byte order mark. Raises UnicodeDecodeError for what is not UTF-8, Invalid for a line that is too long."""
    body = client().get_object(Bucket=_bucket(), Key=key)["Body"]
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    number, rest, held = 1, [""], 0
    for chunk in body.iter_chunks(1024 * 1024):
        first, *others = decoder.decode(chunk).split("\n")
        rest.append(first)
        held += len(first)
        if held > LINE_CHARACTERS:
            message = f"A line should have at most {LINE_CHARACTERS} characters"
            raise Invalid([Problem("too_long", ("body", number), message)])
        if others:
            yield "".join(rest)
            yield from others[:-1]
            number += len(others)
            rest, held = [others[-1]], len(others[-1])
    decoder.decode(b"", final=True)
    if held:
        yield "".join(rest)


def download_link(key: str) -> str:
    params = {"Bucket": _bucket(), "Key": key}
    return client().generate_presigned_url("get_object", Params=params, ExpiresIn=LINK_SECONDS)


def upload_link(key: str) -> str:
    params = {"Bucket": _bucket(), "Key": key}
    return client().generate_presigned_url("put_object", Params=params, ExpiresIn=LINK_SECONDS)


def delete(key: str) -> None:
    """Whether it is there or not."""
    client().delete_object(Bucket=_bucket(), Key=key)


def delete_all(user_id: int) -> None:
    """Every file of a user; one request for a thousand, and one for each."""
    listed = client().get_paginator("list_objects_v2").paginate(Bucket=_bucket(), Prefix=f"{user_id}/")
    for page in listed:
        for found in page.get("Contents", []):
            client().delete_object(Bucket=_bucket(), Key=found["Key"])


def _bucket() -> str:
    return config().transfers_bucket

"""The local S3, used by botocore as the functions use it and by the holders of presigned links."""

import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.objects import Objects
from local.server import Server

PREFIX = "/_local/aws/s3"
BUCKETS = {
    "exports": {
        "LifecycleConfiguration": {"Rules": [{"Status": "Enabled", "ExpirationInDays": 1}]},
        "CorsConfiguration": {"CorsRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"]}]},
    }
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    objects = Objects(tmp_path / "objects", PREFIX, BUCKETS)
    server = Server(objects.answer, body_limit=lambda target: 1 << 30)
    server.start()
    yield server
    server.close()


@pytest.fixture
def s3(server: Server) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=server.url + PREFIX,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(signature_version="s3v4"),
    )


def follow(
    link: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(link)
    connection = HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


def test_an_object_comes_back_as_it_was_put(s3: Any) -> None:
    key = "users/1/a b+c/é.ndjson"
    put = s3.put_object(Bucket="exports", Key=key, Body=b"line\n" * 1000, ContentType="application/x-ndjson")
    got = s3.get_object(Bucket="exports", Key=key)

    assert got["Body"].read() == b"line\n" * 1000
    assert (got["ContentType"], got["ETag"]) == ("application/x-ndjson", put["ETag"])
    assert s3.head_object(Bucket="exports", Key=key)["ContentLength"] == 5000
    assert s3.get_object(Bucket="exports", Key=key, Range="bytes=1-3")["Body"].read() == b"ine"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="exports", Key=key, Body=b"", IfNoneMatch="*")


def test_lists_are_paged_and_deletes_are_final(s3: Any) -> None:
    for number in range(5):
        s3.put_object(Bucket="exports", Key=f"a/{number}", Body=b"x")
    s3.put_object(Bucket="exports", Key="b", Body=b"x")

    pages = list(
        s3.get_paginator("list_objects_v2").paginate(
            Bucket="exports", Prefix="a/", PaginationConfig={"PageSize": 2}
        )
    )
    assert [[item["Key"] for item in page["Contents"]] for page in pages] == [
        ["a/0", "a/1"],
        ["a/2", "a/3"],
        ["a/4"],
    ]

    s3.delete_objects(Bucket="exports", Delete={"Objects": [{"Key": f"a/{number}"} for number in range(5)]})
    s3.delete_object(Bucket="exports", Key="b")
    assert "Contents" not in s3.list_objects_v2(Bucket="exports")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="exports", Key="b")


def test_parts_become_one_object(s3: Any) -> None:
    where = {"Bucket": "exports", "Key": "big"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(**where, UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in ((1, b"a" * 10), (2, b"b"))
    ]
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})

    assert s3.get_object(**where)["Body"].read() == b"a" * 10 + b"b"
    abandoned = s3.create_multipart_upload(**where)["UploadId"]
    s3.abort_multipart_upload(**where, UploadId=abandoned)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        s3.upload_part(**where, UploadId=abandoned, PartNumber=1, Body=b"x")


def test_links_work_for_their_method_and_object_until_they_expire(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"Bucket": "exports", "Key": "users/1/export.ndjson"}
    upload = s3.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    name = 'attachment; filename="export.ndjson"'
    download = s3.generate_presigned_url(
        "get_object", Params={**where, "ResponseContentDisposition": name}, ExpiresIn=60
    )

    assert follow(upload, "PUT", b"mine")[0] == 200
    status, headers, body = follow(download, Origin="https://app.example.com")
    assert (status, body, headers["content-disposition"]) == (200, b"mine", name)
    assert headers["access-control-allow-origin"] == "*"

    assert follow(download, "PUT", b"other")[0] == 403
    assert follow(download.replace("users/1", "users/2"))[0] == 403
    assert follow(download.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))[0] == 403
    assert follow(download.partition("?")[0])[0] == 403
    short = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    two_seconds_on = time.time() + 2
    monkeypatch.setattr(time, "time", lambda: two_seconds_on)
    status, _, body = follow(short)
    assert (status, b"expired" in body) == (403, True)


def test_objects_past_the_lifecycle_of_their_bucket_are_not_there(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="exports", Key="old", Body=b"x")
    two_days_on = time.time() + 2 * 86_400
    monkeypatch.setattr(time, "time", lambda: two_days_on)

    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="exports", Key="old")
    assert "Contents" not in s3.list_objects_v2(Bucket="exports")


def test_a_bucket_the_template_does_not_declare_is_refused(s3: Any) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.put_object(Bucket="elsewhere", Key="a", Body=b"")

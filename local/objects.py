"""S3 as the functions and the holders of presigned links see it: a file for each object, its metadata in the first line."""

import hashlib
import html
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from local.http import Headers, Request, Response
from local.presigned import S3Error, check_presigned, is_presigned

KEPT_HEADERS = (
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "cache-control",
)
UPLOADS = ".uploads"
PAGE = 1000
DAY = 86_400

Metadata = dict[str, Any]


class Objects:
    """The service; `buckets` are the template's, by name, with their properties."""

    def __init__(self, folder: Path, prefix: str, buckets: Mapping[str, Mapping[str, Any]]) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._prefix = prefix
        self._buckets = buckets

    def answer(self, request: Request) -> Response:
        bucket, _, key = unquote(request.path.removeprefix(self._prefix)).lstrip("/").partition("/")
        try:
            if is_presigned(request.query):
                check_presigned(request)
            response = self._route(request, bucket, key)
        except S3Error as error:
            response = _error(error.status, error.code, str(error))
        except (ValueError, LookupError) as error:
            response = _error(400, "InvalidRequest", f"malformed request: {error!r}")
        return self._with_cors(request, bucket, response)

    def _route(self, request: Request, bucket: str, key: str) -> Response:
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        if request.method == "OPTIONS":
            return Response(200)
        # The signature in a header is not verified, because only functions of this stack send one.
        if not is_presigned(request.query) and not request.header("authorization"):
            raise S3Error(403, "AccessDenied", "Access Denied")
        if bucket not in self._buckets:
            raise S3Error(404, "NoSuchBucket", f"The template has no bucket {bucket}.")
        match request.method:
            case "HEAD" if not key:
                return Response(200)
            case "GET" if not key and query.get("list-type") == "2":
                return self._list(bucket, query)
            case "POST" if not key and "delete" in query:
                return self._delete_all(request, bucket)
            case "PUT" if "partNumber" in query:
                part = self._upload(query["uploadId"]) / str(int(query["partNumber"]))
                return self._store(part, body_of(request), {})
            case "PUT" if key:
                self._find(bucket, key)
                only_new = request.header("if-none-match") == "*"
                return self._store(
                    self._path(bucket, key), body_of(request), _kept(request), only_new=only_new
                )
            case "GET" | "HEAD" if key:
                return self._get(request, bucket, key, query)
            case "DELETE" if "uploadId" in query:
                shutil.rmtree(self._upload(query["uploadId"]))
                return Response(204)
            case "DELETE" if key:
                self._path(bucket, key).unlink(missing_ok=True)
                return Response(204)
            case "POST" if key and "uploads" in query:
                return self._begin_upload(request)
            case "POST" if key and "uploadId" in query:
                return self._complete_upload(request, self._path(bucket, key), query["uploadId"])
        raise S3Error(501, "NotImplemented", "The local stack does not know this request.")

    def _delete_all(self, request: Request, bucket: str) -> Response:
        keys = re.findall(r"<Key>([^<]*)</Key>", request.body.decode())
        for key in keys:
            self._path(bucket, html.unescape(key)).unlink(missing_ok=True)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return _xml(f"<DeleteResult>{deleted}</DeleteResult>")

    def _list(self, bucket: str, query: Mapping[str, str]) -> Response:
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        limit = min(int(query.get("max-keys") or PAGE), PAGE)
        keys = sorted(unquote(path.name) for path in (self._folder / bucket).glob("*"))
        wanted = (key for key in keys if key > after and key.startswith(prefix))
        found = [(key, meta) for key in wanted if (meta := self._find(bucket, key)) is not None]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_iso(meta['modified'])}</LastModified>"
            f"<ETag>&quot;{meta['etag']}&quot;</ETag><Size>{meta['size']}</Size></Contents>"
            for key, meta in found[:limit]
        )
        more = len(found) > limit > 0
        token = (
            f"<NextContinuationToken>{escape(found[limit - 1][0])}</NextContinuationToken>" if more else ""
        )
        return _xml(
            f"<ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(found[:limit])}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
            "</ListBucketResult>"
        )

    def _get(self, request: Request, bucket: str, key: str, query: Mapping[str, str]) -> Response:
        meta = self._find(bucket, key)
        if meta is None:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        body = _body(self._path(bucket, key))
        headers = dict(meta["headers"])
        headers |= {name: query[f"response-{name}"] for name in KEPT_HEADERS if f"response-{name}" in query}
        headers |= {"etag": f'"{meta["etag"]}"', "last-modified": formatdate(meta["modified"], usegmt=True)}
        headers["accept-ranges"] = "bytes"
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.header("range") or "")
        if not asked or not any(asked.groups()):
            return Response(200, list(headers.items()), body)
        if asked.group(1):
            first, last = int(asked.group(1)), min(int(asked.group(2) or len(body)), len(body) - 1)
        else:
            first, last = max(0, len(body) - int(asked.group(2))), len(body) - 1
        if first > last:
            raise S3Error(416, "InvalidRange", "The requested range is not satisfiable.")
        headers["content-range"] = f"bytes {first}-{last}/{len(body)}"
        return Response(206, list(headers.items()), body[first : last + 1])

    def _begin_upload(self, request: Request) -> Response:
        upload = secrets.token_hex(16)
        self._store(self._folder / UPLOADS / upload / "headers", b"", _kept(request))
        return _xml(
            f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        )

    def _complete_upload(self, request: Request, path: Path, upload: str) -> Response:
        folder = self._upload(upload)
        wanted = [folder / str(int(n)) for n in re.findall(rb"<PartNumber>(\d+)</PartNumber>", request.body)]
        if not wanted or not all(part.exists() for part in wanted):
            raise S3Error(400, "InvalidPart", "One or more of the parts could not be found.")
        digests = b"".join(bytes.fromhex(_metadata(part)["etag"]) for part in wanted)
        etag, headers = f"{_md5(digests)}-{len(wanted)}", _metadata(folder / "headers")["headers"]
        self._store(path, b"".join(map(_body, wanted)), headers, etag)
        shutil.rmtree(folder)
        return _xml(
            f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
        )

    def _upload(self, upload: str) -> Path:
        folder = self._folder / UPLOADS / upload
        if not re.fullmatch("[0-9a-f]{32}", upload) or not folder.exists():
            raise S3Error(404, "NoSuchUpload", "The specified upload does not exist.")
        return folder

    def _path(self, bucket: str, key: str) -> Path:
        name = quote(key, safe="").replace(".", "%2E")
        if len(name) > 255:
            raise S3Error(400, "KeyTooLongError", "The local stack takes no key that is this long.")
        return self._folder / bucket / name

    def _find(self, bucket: str, key: str) -> Metadata | None:
        """The metadata of an object, which is deleted if it has expired."""
        try:
            meta = _metadata(self._path(bucket, key))
        except FileNotFoundError:
            return None
        rules = self._buckets[bucket].get("LifecycleConfiguration", {}).get("Rules", [])
        days = [
            int(rule["ExpirationInDays"])
            for rule in rules
            if rule.get("Status") == "Enabled"
            and key.startswith(rule.get("Prefix", ""))
            and "ExpirationInDays" in rule
        ]
        if days and meta["modified"] + min(days) * DAY < time.time():
            self._path(bucket, key).unlink(missing_ok=True)
            return None
        return meta

    def _store(
        self, path: Path, body: bytes, headers: Mapping[str, str], etag: str = "", *, only_new: bool = False
    ) -> Response:
        """Whole or not at all, whenever the process is killed."""
        etag = etag or _md5(body)
        meta = {"etag": etag, "size": len(body), "modified": time.time(), "headers": headers}
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(meta).encode() + b"\n" + body)
        try:
            (os.link if only_new else os.replace)(name, path)
        except FileExistsError:
            raise S3Error(412, "PreconditionFailed", "The object exists.") from None
        finally:
            Path(name).unlink(missing_ok=True)
        return Response(200, [("etag", f'"{etag}"')])

    def _with_cors(self, request: Request, bucket: str, response: Response) -> Response:
        origin = request.header("origin")
        method = request.header("access-control-request-method") or request.method
        for rule in self._buckets.get(bucket, {}).get("CorsConfiguration", {}).get("CorsRules", []):
            if origin and {"*", origin} & set(rule["AllowedOrigins"]) and method in rule["AllowedMethods"]:
                headers: Headers = [
                    ("access-control-allow-origin", "*" if "*" in rule["AllowedOrigins"] else origin),
                    ("access-control-allow-methods", ", ".join(rule["AllowedMethods"])),
                    ("access-control-expose-headers", ", ".join(rule.get("ExposedHeaders", []))),
                ]
                if asked := request.header("access-control-request-headers"):
                    headers.append(("access-control-allow-headers", asked))
                return Response(response.status, response.headers + headers, response.body)
        return response


def _metadata(path: Path) -> Metadata:
    with path.open("rb") as file:
        return dict(json.loads(file.readline()))


def _body(path: Path) -> bytes:
    return path.read_bytes().partition(b"\n")[2]


def body_of(request: Request) -> bytes:
    """The object itself: clients may send it in signed chunks with a checksum behind them."""
    if not (request.header("x-amz-content-sha256") or "").startswith("STREAMING-"):
        return request.body
    body, rest = b"", request.body
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


def _kept(request: Request) -> dict[str, str]:
    kept = {
        name: value
        for name, value in request.headers
        if name in KEPT_HEADERS or name.startswith("x-amz-meta-")
    }
    encodings = [each.strip() for each in kept.pop("content-encoding", "").split(",")]
    own = ",".join(each for each in encodings if each not in ("", "aws-chunked"))
    return kept | ({"content-encoding": own} if own else {})


def _xml(content: str, status: int = 200) -> Response:
    return Response(status, [("content-type", "application/xml")], f'<?xml version="1.0"?>{content}'.encode())


def _error(status: int, code: str, text: str) -> Response:
    return _xml(f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>", status)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))

"""S3 as the functions and the holders of presigned links see it: bodies in files, the rest in SQLite."""

import hashlib
import html
import json
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from local.http import Headers, Request, Response
from local.presigned import PresignedError, check_presigned, is_presigned

KEPT_HEADERS = (
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "cache-control",
)
PAGE = 1000
DAY = 86_400

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    file TEXT NOT NULL,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified REAL NOT NULL,
    headers TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, headers TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, etag TEXT NOT NULL, PRIMARY KEY (upload, number)
);
"""


class S3Error(Exception):
    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


class Objects:
    """The service; `buckets` are the template's, by name, with their properties."""

    def __init__(self, folder: Path, prefix: str, buckets: Mapping[str, Mapping[str, Any]]) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._prefix = prefix
        self._buckets = buckets
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / "index.db", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        with self._transaction() as db:
            db.executescript(f"PRAGMA journal_mode = WAL; {SCHEMA}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def answer(self, request: Request) -> Response:
        try:
            if is_presigned(request.query):
                check_presigned(request)
            response = self._route(request)
        except PresignedError as error:
            response = _error(error.status, error.code, str(error))
        except S3Error as error:
            response = _error(error.status, error.code, str(error))
        except (ValueError, LookupError) as error:
            response = _error(400, "InvalidRequest", f"malformed request: {error!r}")
        bucket = unquote(request.path.removeprefix(self._prefix)).lstrip("/").partition("/")[0]
        return self._with_cors(request, bucket, response)

    def _route(self, request: Request) -> Response:
        bucket, _, key = unquote(request.path.removeprefix(self._prefix)).lstrip("/").partition("/")
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        if request.method == "OPTIONS":
            return Response(200)
        if bucket not in self._buckets:
            raise S3Error(404, "NoSuchBucket", f"The template has no bucket {bucket}.")
        if not key:
            return self._bucket(request, bucket, query)
        match request.method:
            case "PUT" if "partNumber" in query:
                return self._upload_part(query["uploadId"], int(query["partNumber"]), body_of(request))
            case "PUT":
                return self._put(request, bucket, key)
            case "GET" | "HEAD":
                return self._get(request, bucket, key, query)
            case "DELETE" if "uploadId" in query:
                self._forget_upload(query["uploadId"])
                return Response(204)
            case "DELETE":
                self._delete(bucket, key)
                return Response(204)
            case "POST" if "uploads" in query:
                return self._begin_upload(request, bucket, key)
            case "POST" if "uploadId" in query:
                return self._complete_upload(request, bucket, key, query["uploadId"])
        raise S3Error(501, "NotImplemented", "The local stack does not know this request.")

    def _bucket(self, request: Request, bucket: str, query: Mapping[str, str]) -> Response:
        if request.method == "HEAD":
            return Response(200)
        if request.method == "GET" and query.get("list-type") == "2":
            return self._list(bucket, query)
        if request.method == "POST" and "delete" in query:
            keys = [html.unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", request.body.decode())]
            for key in keys:
                self._delete(bucket, key)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            return _xml(f"<DeleteResult>{deleted}</DeleteResult>")
        raise S3Error(501, "NotImplemented", "The local stack does not know this request.")

    def _list(self, bucket: str, query: Mapping[str, str]) -> Response:
        prefix, after = (
            query.get("prefix", ""),
            query.get("continuation-token") or query.get("start-after", ""),
        )
        limit = min(int(query.get("max-keys") or PAGE), PAGE)
        with self._transaction() as db:
            rows = db.execute(
                "SELECT * FROM objects WHERE bucket = ? AND key > ? AND substr(key, 1, ?) = ? ORDER BY key",
                (bucket, after, len(prefix), prefix),
            ).fetchall()
        rows = [row for row in rows if not self._expired(row)]
        page = rows[:limit]
        contents = "".join(
            f"<Contents><Key>{escape(row['key'])}</Key><LastModified>{_iso(row['modified'])}</LastModified>"
            f"<ETag>&quot;{row['etag']}&quot;</ETag><Size>{row['size']}</Size></Contents>"
            for row in page
        )
        more = len(rows) > len(page)
        token = (
            f"<NextContinuationToken>{escape(page[-1]['key'])}</NextContinuationToken>"
            if more and page
            else ""
        )
        return _xml(
            f"<ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}"
            "</ListBucketResult>"
        )

    def _put(self, request: Request, bucket: str, key: str) -> Response:
        body = body_of(request)
        if request.header("if-none-match") == "*" and self._find(bucket, key):
            raise S3Error(412, "PreconditionFailed", "The object exists.")
        etag = _md5(body)
        self._keep(bucket, key, body, etag, _kept(request))
        return Response(200, [("etag", f'"{etag}"')])

    def _get(self, request: Request, bucket: str, key: str, query: Mapping[str, str]) -> Response:
        row = self._find(bucket, key)
        if row is None:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        body = (self._folder / row["file"]).read_bytes()
        headers = json.loads(row["headers"])
        headers |= {name: query[f"response-{name}"] for name in KEPT_HEADERS if f"response-{name}" in query}
        headers |= {"etag": f'"{row["etag"]}"', "last-modified": formatdate(row["modified"], usegmt=True)}
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

    def _begin_upload(self, request: Request, bucket: str, key: str) -> Response:
        upload = secrets.token_hex(16)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?)", (upload, bucket, key, json.dumps(_kept(request)))
            )
        return _xml(
            f"<InitiateMultipartUploadResult><Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
            f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        )

    def _upload_part(self, upload: str, number: int, body: bytes) -> Response:
        self._upload(upload)
        file, etag = self._write(body), _md5(body)
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", (upload, number, file, etag))
        return Response(200, [("etag", f'"{etag}"')])

    def _complete_upload(self, request: Request, bucket: str, key: str, upload: str) -> Response:
        headers = json.loads(self._upload(upload)["headers"])
        wanted = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", request.body)]
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM parts WHERE upload = ?", (upload,)).fetchall()
        parts = {row["number"]: row for row in rows}
        if not wanted or any(number not in parts for number in wanted):
            raise S3Error(400, "InvalidPart", "One or more of the parts could not be found.")
        body = b"".join((self._folder / parts[number]["file"]).read_bytes() for number in wanted)
        digests = b"".join(bytes.fromhex(parts[number]["etag"]) for number in wanted)
        etag = f"{_md5(digests)}-{len(wanted)}"
        self._keep(bucket, key, body, etag, headers)
        self._forget_upload(upload)
        return _xml(
            f"<CompleteMultipartUploadResult><Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
            f"<ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
        )

    def _upload(self, upload: str) -> sqlite3.Row:
        with self._transaction() as db:
            row: sqlite3.Row | None = db.execute("SELECT * FROM uploads WHERE id = ?", (upload,)).fetchone()
        if row is None:
            raise S3Error(404, "NoSuchUpload", "The specified upload does not exist.")
        return row

    def _forget_upload(self, upload: str) -> None:
        with self._transaction() as db:
            rows = db.execute("DELETE FROM parts WHERE upload = ? RETURNING file", (upload,)).fetchall()
            db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        for row in rows:
            (self._folder / row["file"]).unlink(missing_ok=True)

    def _find(self, bucket: str, key: str) -> sqlite3.Row | None:
        with self._transaction() as db:
            found = db.execute("SELECT * FROM objects WHERE bucket = ? AND key = ?", (bucket, key))
            row: sqlite3.Row | None = found.fetchone()
        return None if row is None or self._expired(row) else row

    def _expired(self, row: sqlite3.Row) -> bool:
        rules = self._buckets[row["bucket"]].get("LifecycleConfiguration", {}).get("Rules", [])
        return any(
            rule.get("Status") == "Enabled"
            and row["key"].startswith(rule.get("Prefix", ""))
            and row["modified"] + int(rule["ExpirationInDays"]) * DAY < time.time()
            for rule in rules
            if "ExpirationInDays" in rule
        )

    def _keep(self, bucket: str, key: str, body: bytes, etag: str, headers: Mapping[str, str]) -> None:
        file = self._write(body)
        with self._transaction() as db:
            before = db.execute(
                "SELECT file FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
            ).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                (bucket, key, file, etag, len(body), time.time(), json.dumps(headers)),
            )
        if before:
            (self._folder / before["file"]).unlink(missing_ok=True)

    def _delete(self, bucket: str, key: str) -> None:
        with self._transaction() as db:
            statement = "DELETE FROM objects WHERE bucket = ? AND key = ? RETURNING file"
            row = db.execute(statement, (bucket, key)).fetchone()
        if row:
            (self._folder / row["file"]).unlink(missing_ok=True)

    def _write(self, body: bytes) -> str:
        name = secrets.token_hex(16)
        (self._folder / name).write_bytes(body)
        return name

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

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db


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
        name.lower(): value
        for name, value in request.headers
        if name.lower() in KEPT_HEADERS or name.lower().startswith("x-amz-meta-")
    }
    encodings = [
        e.strip() for e in kept.pop("content-encoding", "").split(",") if e.strip() not in ("", "aws-chunked")
    ]
    return kept | ({"content-encoding": ",".join(encodings)} if encodings else {})


def _xml(content: str) -> Response:
    return Response(200, [("content-type", "application/xml")], f'<?xml version="1.0"?>{content}'.encode())


def _error(status: int, code: str, text: str) -> Response:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>'
    return Response(status, [("content-type", "application/xml")], body.encode())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))

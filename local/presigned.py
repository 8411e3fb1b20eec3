"""Presigned S3 links: their Signature Version 4, made with the credentials that local functions have."""

import calendar
import hashlib
import hmac
import time
from urllib.parse import parse_qsl, quote

from local.http import Request

SECRET_KEY = "local"  # noqa: S105 (of the stand-ins)
LONGEST_LIFE = 7 * 86_400


class PresignedError(Exception):
    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def is_presigned(query: str) -> bool:
    return "X-Amz-Signature=" in query or "&Signature=" in f"&{query}"


def check_presigned(request: Request) -> None:
    """PresignedError, as S3 refuses, unless the link was made for this request and is still good."""
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        raise PresignedError(400, "InvalidRequest", "Please use AWS4-HMAC-SHA256.")
    try:
        made = calendar.timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        expires = int(query["X-Amz-Expires"])
        scope = query["X-Amz-Credential"].split("/", 1)[1]
        given, signed = query.pop("X-Amz-Signature"), query["X-Amz-SignedHeaders"]
    except (KeyError, ValueError, IndexError):
        raise PresignedError(
            400, "AuthorizationQueryParametersError", "A parameter is missing or wrong."
        ) from None
    if not 0 < expires <= LONGEST_LIFE or time.time() > made + expires:
        raise PresignedError(403, "AccessDenied", "Request has expired")
    headers = "".join(f"{name}:{(request.header(name) or '').strip()}\n" for name in signed.split(";"))
    parameters = "&".join(
        f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())
    )
    canonical = f"{request.method}\n{request.path}\n{parameters}\n{headers}\n{signed}\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), given):
        raise PresignedError(403, "SignatureDoesNotMatch", "The signature does not match.")

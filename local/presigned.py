"""Presigned S3 links: their Signature Version 4, made with the credentials that local functions have."""

import calendar
import hmac
import time
from urllib.parse import parse_qsl

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.http import Request

SECRET_KEY = "local"  # noqa: S105 (of the stand-ins)
LONGEST_LIFE = 7 * 86_400


class S3Error(Exception):
    """A refusal as S3 itself would send it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def is_presigned(query: str) -> bool:
    return "X-Amz-Signature=" in query or "&Signature=" in f"&{query}"


def check_presigned(request: Request) -> None:
    """Raises S3Error unless the link was made for this request and is still valid."""
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        raise S3Error(400, "InvalidRequest", "Please use AWS4-HMAC-SHA256.")
    try:
        made = calendar.timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        expires = int(query["X-Amz-Expires"])
        _, _, region, service, _ = query["X-Amz-Credential"].split("/")
        given, signed = query.pop("X-Amz-Signature"), query["X-Amz-SignedHeaders"].split(";")
    except (KeyError, ValueError):
        raise S3Error(400, "AuthorizationQueryParametersError", "A parameter is missing or wrong.") from None
    if not 0 < expires <= LONGEST_LIFE or time.time() > made + expires:
        raise S3Error(403, "AccessDenied", "Request has expired")
    url = f"http://{request.header('host')}{request.path}"
    unsigned = AWSRequest(
        request.method, url, {name: request.header(name) or "" for name in signed}, params=query
    )
    unsigned.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials("local", SECRET_KEY), service, region, expires)
    text = auth.string_to_sign(unsigned, auth.canonical_request(unsigned))
    if not hmac.compare_digest(auth.signature(text, unsigned), given):
        raise S3Error(403, "SignatureDoesNotMatch", "The signature does not match.")

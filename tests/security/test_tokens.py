"""No request is served without a token that was issued for its caller. Every function with a route is tried."""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from local.stack import Stack, read_template
from practice.http import jwks
from practice.runtime import secrets
from practice.runtime.config import config
from practice.store import accounts
from tests.support.learners import BASE_URL, Answer, Learner, Send, at_once, new_user_id
from tests.support.torture import count

pytestmark = pytest.mark.trust

Json = dict[str, Any]

OPEN = {"GET /openapi.json", "$default"}
ROUTES = sorted(f"{route.method} {route.path}" for route in read_template().routes if route.key not in OPEN)


def target_of(route: str) -> tuple[str, str]:
    method, _, path = route.partition(" ")
    return method, "/".join("1" if part.startswith("{") else part for part in path.split("/"))


# Forging


def encoded(part: bytes | Mapping[str, Any]) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(secret: str | bytes, claims: bytes | Json, header: bytes | Json | None = None) -> str:
    key = secret.encode() if isinstance(secret, str) else secret
    signed = f"{encoded(header or {'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def valid(**changes: Any) -> Json:
    """Claims that are accepted, but for the changes; `...` leaves one out."""
    claims = {"sub": "7", "exp": int(time.time()) + 36_000, **changes}
    return {name: value for name, value in claims.items() if value is not ...}


NOW = int(time.time())
LEEWAY = 5
"""The default of TokenLeewaySeconds."""
COMPRESSED = {"alg": "HS256", "typ": "JWT", "zip": "DEF"}
NO_ALGORITHMS: list[Any] = ["none", "None", "NONE", "nOnE", "", None, 0, [], {}]


def attacks(secret: str) -> dict[str, str]:
    """Tokens that must not be accepted, by what is wrong with them."""
    good = hs256(secret, valid())
    head, body, signature = good.split(".")
    other = "another secret of more than 32 bytes, as it should be"

    def with_header(key: str | bytes = secret, **fields: Any) -> str:
        return hs256(key, valid(), {"alg": "HS256", "typ": "JWT", **fields})

    def unsigned(algorithm: Any, sealed: str = "") -> str:
        return f"{encoded({'alg': algorithm, 'typ': 'JWT'})}.{body}.{sealed}"

    return {
        "empty": "",
        "not a token": "abc",
        "one segment": head,
        "two segments": f"{head}.{body}",
        "four segments": f"{good}.{signature}",
        "five segments, as an encrypted token has": f"{good}.{signature}.{signature}",
        "an encrypted and compressed token": ".".join(
            [
                encoded({"alg": "dir", "enc": "A128GCM", "zip": "DEF"}),
                "",
                *[encoded(bytes(12))] * 2,
                signature,
            ]
        ),
        "compressed claims": hs256(secret, zlib.compress(json.dumps(valid()).encode()), COMPRESSED),
        "a bomb as claims": hs256(secret, zlib.compress(b" " * 5_000_000), COMPRESSED),
        "nothing but dots": "..",
        "an unsigned one": f"{head}.{body}.",
        "another secret": hs256(other, valid()),
        "an empty secret": hs256(b"", valid()),
        "the zero byte as secret, from kid /dev/null": with_header(b"\0", kid="/dev/null"),
        "the secret in another case": hs256(secret.swapcase(), valid()),
        "a signature cut short": good[:-2],
        "a signature with one bit changed": good[:-6] + ("A" if good[-6] != "A" else "B") + good[-5:],
        "another learner's claims": f"{head}.{encoded(valid(sub='8'))}.{signature}",
        "another header": f"{encoded({'alg': 'HS256'})}.{body}.{signature}",
        **{f"alg {name}": unsigned(name) for name in NO_ALGORITHMS},
        **{f"alg {name}, signed": unsigned(name, signature) for name in ("none", "NONE", "hs256", "HS256 ")},
        **{
            f"alg {name}": unsigned(name, signature)
            for name in ("HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA")
        },
        "alg as a list": unsigned(["HS256"], signature),
        "no alg": f"{encoded({'typ': 'JWT'})}.{body}.{signature}",
        "psychic signature": unsigned("ES256", encoded(b"\0" * 64)),
        "a key of its own in jwk": with_header(other, jwk={"kty": "oct", "k": encoded(other.encode())}),
        "a key of its own behind jku": with_header(other, jku="http://127.0.0.1:1/jwks"),
        "a key of its own behind x5u": with_header(other, x5u="http://127.0.0.1:1/cert", x5c=["MIIB"]),
        "kid as a path": with_header(other, kid="../../../../etc/hostname"),
        "kid as SQL": with_header(other, kid="x' UNION SELECT 'secret"),
        "kid as an address": with_header(other, kid="http://169.254.169.254/latest/meta-data"),
        "kid as a number": with_header(kid=5),
        "kid as an object": with_header(kid={"a": 1}),
        "crit": with_header(crit=["exp"]),
        "empty crit": with_header(crit=[]),
        "crit that turns base64 off": with_header(crit=["b64"], b64=False),
        "b64 false": with_header(b64=False),
        "an identity token": with_header(typ="id+jwt"),
        "a logout token": with_header(typ="logout+jwt"),
        "an encrypted token by its typ": with_header(typ="JWE"),
        "typ as a number": with_header(typ=1),
        "claims that are a list": hs256(secret, b"[]"),
        "claims that are a text": hs256(secret, b'"sub"'),
        "claims that are no JSON": hs256(secret, b"{sub: 7}"),
        "claims that are no UTF-8": hs256(secret, b'{"sub":"7","exp":9999999999,"a":"\xff"}'),
        "empty claims": hs256(secret, b""),
        "no claims": hs256(secret, {}),
        "claims nested without end": hs256(
            other, b'{"sub":"7","exp":9999999999,"a":' + b"[" * 3000 + b"]" * 3000 + b"}"
        ),
        "a number without end": hs256(secret, b'{"sub":"7","exp":' + b"9" * 5000 + b"}"),
        "a header nested without end": hs256(
            other, valid(), b'{"alg":"HS256","a":' + b"[" * 3000 + b"]" * 3000 + b"}"
        ),
        "a header that is no object": hs256(secret, valid(), b'["HS256"]'),
        "huge": hs256(secret, valid(padding="x" * 6200)),
        "a blank inside": f"{head}. {body}.{signature}",
        "two tokens": f"{good} {good}",
        "two tokens with a comma": f"{good},Bearer {good}",
        "quoted": f'"{good}"',
        "outside ASCII": good + "é",
        "expired": hs256(secret, valid(exp=NOW - LEEWAY - 1)),
        "expired at this moment": hs256(secret, valid(exp=NOW - LEEWAY)),
        "no exp": hs256(secret, valid(exp=...)),
        **{
            f"exp {value!r}"[:40]: hs256(secret, json.dumps(valid(exp="@")).replace('"@"', value).encode())
            for value in (
                *(
                    "null",
                    '"never"',
                    '""',
                    "true",
                    "[]",
                    "{}",
                    "NaN",
                    "Infinity",
                    "-Infinity",
                    "1e400",
                    "-1",
                    "0",
                ),
                *(f'"{NOW + 600}"', f"[{NOW + 600}]", "1" + "0" * 400),
            )
        },
        "not valid yet": hs256(secret, valid(nbf=NOW + 36_000)),
        "issued in the future": hs256(secret, valid(iat=NOW + 36_000)),
        **{
            f"{name} {value}"[:40]: hs256(
                secret, json.dumps(valid(**{name: "@"})).replace('"@"', value).encode()
            )
            for name in ("nbf", "iat")
            for value in (
                '"now"',
                f'"{NOW}"',
                "[]",
                "{}",
                "NaN",
                "Infinity",
                "1e400",
                "-1e300",
                "-1",
                "-1" + "0" * 400,
            )
        },
        **{
            f"user id {value}"[:40]: hs256(secret, json.dumps(valid(sub="@")).replace('"@"', value).encode())
            for value in (
                *(
                    "null",
                    '""',
                    "0",
                    '"0"',
                    "-1",
                    '"-1"',
                    "1.5",
                    '"1.5"',
                    "1.0",
                    "true",
                    "[]",
                    "{}",
                    "[7]",
                    '{"id":7}',
                ),
                *(
                    '"07"',
                    '" 7"',
                    '"7 "',
                    '"+7"',
                    '"7\\n"',
                    '"1e3"',
                    '"0x7"',
                    '"1_0"',
                    '"７"',
                    '"٧"',
                    '"ada"',
                    '"7\\u0000"',
                ),
                *(
                    str(2**53),
                    f'"{2**53}"',
                    "1e400",
                    "NaN",
                    "1" + "0" * 400,
                    '"' + "9" * 17 + '"',
                    '"../8"',
                    '"7#SESSION"',
                ),
            )
        },
        "no user id": hs256(secret, valid(sub=...)),
        "jti that is no text": hs256(secret, valid(jti=5)),
    }


def headers_without_a_token(good: str) -> dict[str, str | None]:
    return {
        "no header": None,
        "an empty header": "",
        "only the scheme": "Bearer",
        "the scheme and blanks": "Bearer   ",
        "no scheme": good,
        "Basic": "Basic YWRhOnNlY3JldA==",
        "another scheme": f"Token {good}",
        "a longer scheme": f"Bearers {good}",
        "a tab": f"Bearer\t{good}",
        "a colon": f"Bearer: {good}",
        "an equals sign": f"Bearer={good}",
    }


def refused(answer: Answer, shown: str) -> None:
    assert (answer.status, answer.json) == (401, {"detail": "unauthorized"}), shown
    assert answer.headers["www-authenticate"] == "Bearer", shown
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    count("attacks")


@pytest.fixture
def secret(signing_secret: str) -> str:
    """Of a deployment that expects nothing else of a token."""
    names = ("TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_USER_CLAIM")
    if BASE_URL and (not signing_secret or {os.environ.get(name, "") for name in names} - {"", "sub"}):
        pytest.skip("needs TOKEN_SECRET of a deployment without an issuer and an audience of its own")
    return signing_secret


@pytest.mark.parametrize("route", ROUTES)
def test_a_token_that_is_not_sound_opens_no_route(route: str, secret: str, send: Send) -> None:
    """Each attack at each route; over the network each at one route of eight, since every one is a request."""
    method, target = target_of(route)
    bearers: dict[str, str | None] = {name: f"Bearer {token}" for name, token in attacks(secret).items()}
    tried = list({**bearers, **headers_without_a_token(hs256(secret, valid()))}.items())
    for name, header in tried[ROUTES.index(route) % 8 :: 8] if BASE_URL else tried:
        headers = {"host": "localhost"} | ({} if header is None else {"authorization": header})
        refused(send(method, target, headers, b"\xff not even JSON"), name)


@pytest.mark.parametrize("route", ROUTES)
def test_a_sound_token_opens_every_route(route: str, secret: str, send: Send) -> None:
    """The other test could not fail otherwise."""
    method, target = target_of(route)
    headers = {"host": "localhost", "authorization": f"Bearer {hs256(secret, valid(sub=NOW))}"}

    assert send(method, target, headers, b"[]").status in (200, 404, 422)


@pytest.mark.parametrize("route", sorted(OPEN - {"$default"}))
def test_the_contract_is_read_without_a_token(route: str, send: Send) -> None:
    method, target = target_of(route)

    assert send(method, target, {"host": "localhost"}, None).status == 200
    assert send("GET", "/nowhere", {"host": "localhost"}, None).status == 404


def user_seen(send: Send, token: str, scheme: str = "Bearer") -> Answer:
    headers = {"host": "localhost", "authorization": f"{scheme} {token}"}
    return send("POST", "/user/practice/few-shot-examples", headers, b'{"input_text":"a","output_text":"b"}')


@pytest.mark.parametrize(
    ("claims", "user_id"),
    [
        (valid(sub="7"), 7),
        (valid(sub=7), 7),
        (valid(sub=2**53 - 1), 2**53 - 1),
        (valid(sub=str(2**53 - 1)), 2**53 - 1),
        (valid(iat=NOW - 5, nbf=NOW - 5, jti="a"), 7),
        (valid(iat=NOW - 5.25, exp=NOW + 36_000.5), 7),
        (valid(iss="another", aud=["anything"]), 7),
        (valid(user_id=8, admin=True), 7),
    ],
)
def test_the_user_is_the_one_the_token_names(claims: Json, user_id: int, secret: str, send: Send) -> None:
    answer = user_seen(send, hs256(secret, claims))

    assert (answer.status, answer.json["user_id"]) == (201, user_id)


@pytest.mark.parametrize(("name", "seconds"), [("exp", 3 - LEEWAY), ("nbf", LEEWAY - 1), ("iat", LEEWAY - 1)])
def test_a_clock_that_is_a_few_seconds_off_is_forgiven(
    name: str, seconds: int, secret: str, send: Send
) -> None:
    claims = valid(**{name: int(time.time()) + seconds})

    assert user_seen(send, hs256(secret, claims)).status == 201


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
def test_the_scheme_is_read_in_any_case(scheme: str, secret: str, send: Send) -> None:
    assert user_seen(send, hs256(secret, valid()), scheme).status == 201


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT"])
def test_an_access_token_is_known_by_its_type(typ: str, secret: str, send: Send) -> None:
    assert user_seen(send, hs256(secret, valid(), {"alg": "HS256", "typ": typ})).status == 201


def test_the_reason_is_in_the_log_and_nothing_of_the_token(
    stack: Stack, ada: Learner, caplog: pytest.LogCaptureFixture
) -> None:
    token = hs256(stack.token_secret, valid(exp=NOW - LEEWAY - 1, name="canary"))

    caplog.set_level("INFO")
    answer = Learner(ada.send, token, 0).get("/sessions")

    refused(answer, "expired")
    [line] = [record.__dict__ for record in caplog.records if "cause" in record.__dict__]
    assert line["cause"] == "ExpiredSignatureError"
    assert (line["status"], line["user"]) == (401, None)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert not any(part in str(line) for part in ("canary", *token.split(".")))


# Deployments that are set up otherwise


NEAR_ISSUERS: list[Any] = [
    "https://issuer.example",
    "https://issuer.example//",
    "https://issuer.example/ ",
    "https://issuer.example:443/",
    "https://issuer.example/?",
    "https://issuer.exаmple/",
    "https://ISSUER.example/",
    "http://issuer.example/",
    "https://issuer.example/.evil",
    *("", None, 5, {}, ["https://issuer.example/"]),
]
NEAR_AUDIENCES: list[Any] = [
    *("practice/", "practice\0", "practices", ["practice "], "practice,other", "practice other"),
    *("Practice", "practice ", "practic", ["other"], [["practice"]], {"practice": 1}, ["practice", 5]),
    *("", None, 5, {}, []),
]

Deploy = Callable[..., None]


@pytest.fixture
def deployed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    """Sets environment variables of the functions, as a deployment does."""

    def forget() -> None:
        config.cache_clear()
        secrets.clear_cache()
        jwks.clear_cache()

    def deploy(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget()

    yield deploy
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("variables", "accepted", "not_accepted"),
    [
        (
            {"TOKEN_ISSUER": "https://issuer.example/"},
            [{"iss": "https://issuer.example/"}],
            [
                {},
                *({"iss": each} for each in NEAR_ISSUERS),
            ],
        ),
        (
            {"TOKEN_AUDIENCE": "practice"},
            [{"aud": "practice"}, {"aud": ["practice"]}, {"aud": ["other", "practice"]}],
            [
                {},
                *({"aud": each} for each in NEAR_AUDIENCES),
            ],
        ),
        (
            {"TOKEN_LEEWAY_SECONDS": "7200"},
            [{"exp": NOW - 60}, {"nbf": NOW + 60}, {"iat": NOW + 60}],
            [
                {"exp": NOW - 7200},
                {"exp": NOW - 7200.0},
                {"exp": NOW - 7201},
                {"nbf": NOW + 36_000},
                {"iat": NOW + 36_000},
            ],
        ),
        (
            {"TOKEN_USER_CLAIM": "https://example.com/user_id"},
            [{"https://example.com/user_id": 7}, {"https://example.com/user_id": "7", "sub": "auth0|abc"}],
            [{}, {"https://example.com/user_id": "auth0|7"}, {"user_id": 7}],
        ),
    ],
    ids=["issuer", "audience", "leeway", "user claim"],
)
def test_a_deployment_pins_what_it_expects(
    variables: dict[str, str],
    accepted: list[Json],
    not_accepted: list[Json],
    deployed: Deploy,
    stack: Stack,
    send: Send,
) -> None:
    deployed(**variables)

    for claims in accepted:
        answer = user_seen(send, hs256(stack.token_secret, valid(**claims)))
        assert (answer.status, answer.json.get("user_id")) == (201, 7), claims
    for claims in not_accepted:
        refused(user_seen(send, hs256(stack.token_secret, valid(**claims))), str(claims))


class Loopback:
    """A server of this process: its `answer` is what it says next."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/"
        self.requests = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] = replies({})


def replies(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(raw)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


@contextmanager
def loopback() -> Iterator[Loopback]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests += 1
            try:
                served.answer(self)
            except OSError:
                self.close_connection = True  # the client did not wait

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Loopback(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def secrets_manager(deployed: Deploy) -> Iterator[Loopback]:
    with loopback() as served:
        deployed(AWS_ENDPOINT_URL_SECRETS_MANAGER=served.url)
        yield served


OLD, NEW = "the secret that goes, of 32 bytes and more", "the secret that comes, of 32 bytes and more"


def test_a_rotation_keeps_two_secrets_alive(secrets_manager: Loopback, send: Send) -> None:
    old, new = hs256(OLD, valid()), hs256(NEW, valid())

    def stored(value: Any) -> list[int]:
        secrets.clear_cache()
        text = value if isinstance(value, str) else json.dumps(value)
        secrets_manager.answer = replies({"SecretString": text})
        return [user_seen(send, token).status for token in (old, new)]

    assert stored(OLD) == [201, 401]
    assert stored({"current": NEW, "previous": OLD}) == [201, 201]
    assert stored({"current": NEW, "previous": ""}) == [401, 201]
    assert stored({"current": NEW}) == [401, 201]


def test_a_secret_is_asked_for_once_in_five_minutes_and_outlives_its_store(
    secrets_manager: Loopback, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets_manager.answer = replies({"SecretString": OLD})
    for _ in range(5):
        assert user_seen(send, hs256(OLD, valid())).status == 201
    assert secrets_manager.requests == 1

    monkeypatch.setattr(secrets, "LIFETIME_SECONDS", 0.0)
    secrets_manager.answer = replies({}, 500)
    assert user_seen(send, hs256(OLD, valid())).status == 201
    refused(user_seen(send, hs256(NEW, valid())), "another secret")


@pytest.mark.parametrize(
    ("before", "after", "good"),
    [
        (OLD, {"current": NEW, "previous": OLD}, OLD),
        ({"current": NEW, "previous": OLD}, {"current": NEW}, NEW),
    ],
    ids=["the new secret comes", "the old one goes"],
)
def test_a_rotation_while_learners_are_at_work_refuses_no_token(
    before: Any,
    after: Any,
    good: str,
    secrets_manager: Loopback,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secrets, "LIFETIME_SECONDS", 0.0)

    def store(value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        secrets_manager.answer = replies({"SecretString": text})

    def work() -> list[int]:
        token = hs256(good, valid(sub=new_user_id()))
        return [user_seen(send, token).status for _ in range(4)]

    store(before)
    *worked, _ = at_once(*[work] * 6, lambda: store(after))

    assert worked == [[201] * 4] * 6
    gone, come = (user_seen(send, hs256(key, valid())).status for key in (OLD, NEW))
    assert (gone, come) == (401 if after == {"current": NEW} else 201, 201)


@pytest.mark.parametrize(
    "secret", ["", "short", "x" * 31, '{"current":"short"}', '{"current":""}', "{}", "[]", "{"]
)
def test_a_deployment_with_a_weak_secret_refuses_every_token(
    secret: str, secrets_manager: Loopback, send: Send
) -> None:
    secrets_manager.answer = replies({"SecretString": secret})

    for key in {secret, "short", "x" * 31} - {""}:
        answer = user_seen(send, hs256(key, valid()))
        assert (answer.status, answer.json) == (500, {"detail": "internal server error"})


def test_a_secret_that_was_never_read_is_the_services_fault(secrets_manager: Loopback, send: Send) -> None:
    secrets_manager.answer = replies({}, 500)

    answer = user_seen(send, hs256(OLD, valid()))

    assert (answer.status, answer.json) == (503, {"detail": "service unavailable"})
    assert answer.headers["retry-after"] == "1"


# Public keys


class Signer:
    """An issuer's key pair."""

    def __init__(self, kid: str, private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self.kid, self.private = kid, private

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    @property
    def jwk(self) -> Json:
        if isinstance(self.private, rsa.RSAPrivateKey):
            numbers = self.private.public_key().public_numbers()
            return {"kid": self.kid, "kty": "RSA", "n": whole(numbers.n), "e": whole(numbers.e)}
        point = self.private.public_key().public_numbers()
        size = (self.private.key_size + 7) // 8
        curve = {256: "P-256", 384: "P-384"}[self.private.key_size]
        return {
            "kid": self.kid,
            "kty": "EC",
            "crv": curve,
            "x": whole(point.x, size),
            "y": whole(point.y, size),
        }

    @property
    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, claims: Json | None = None, **header: Any) -> str:
        fields = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **header}
        sent = {name: value for name, value in fields.items() if value is not ...}
        signed = f"{encoded(sent)}.{encoded(claims or valid())}"
        if isinstance(self.private, rsa.RSAPrivateKey):
            signature = self.private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            size = (self.private.key_size + 7) // 8
            r, s = decode_dss_signature(self.private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return f"{signed}.{encoded(signature)}"


def whole(number: int, size: int | None = None) -> str:
    return encoded(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


RSA = Signer("rsa-1", rsa.generate_private_key(public_exponent=65537, key_size=2048))
NEXT_RSA = Signer("rsa-2", rsa.generate_private_key(public_exponent=65537, key_size=2048))
SHORT_RSA = Signer("rsa-short", rsa.generate_private_key(public_exponent=65537, key_size=1024))
EC = Signer("ec-1", ec.generate_private_key(ec.SECP256R1()))
EC_384 = Signer("ec-384", ec.generate_private_key(ec.SECP384R1()))
SIGNERS = (RSA, NEXT_RSA, SHORT_RSA, EC, EC_384)


@pytest.fixture
def issuer(deployed: Deploy) -> Iterator[Loopback]:
    """An issuer that publishes one RSA and one EC key, for a deployment that has no shared secret."""
    with loopback() as served:
        served.answer = replies({"keys": [RSA.jwk, EC.jwk]})
        deployed(JWKS_URL=served.url + "jwks", TOKEN_SECRET_ARN="")
        yield served


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass for the keys that are kept."""
    passed = 0.0

    def wait(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    class Time:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + passed

    for module in (jwks, jwt.jwks_client, jwt.jwk_set_cache, jwt.api_jwk):
        monkeypatch.setattr(module, "time", Time)
    return wait


def test_tokens_signed_by_the_issuer_are_accepted_for_one_request_to_it(issuer: Loopback, send: Send) -> None:
    for _ in range(3):
        assert user_seen(send, RSA.sign()).json["user_id"] == 7
        assert user_seen(send, EC.sign()).json["user_id"] == 7
    assert user_seen(send, RSA.sign(valid(sub=8), typ="at+jwt")).json["user_id"] == 8
    assert issuer.requests == 1


def test_tokens_that_the_issuer_did_not_sign_open_no_route(
    issuer: Loopback, send: Send, stack: Stack
) -> None:
    good = RSA.sign()
    head, body, signature = good.split(".")
    rsa_head, ec_head = (encoded({"alg": each.algorithm, "kid": each.kid}) for each in (RSA, EC))
    forged = {
        "the shared secret of another deployment": hs256(stack.token_secret, valid()),
        "the public key as a shared secret": hs256(RSA.pem, valid(), {"alg": "HS256", "kid": RSA.kid}),
        "the modulus as a shared secret": hs256(RSA.jwk["n"], valid(), {"alg": "HS256", "kid": RSA.kid}),
        "another key under a known kid": Signer(RSA.kid, NEXT_RSA.private).sign(),
        "another key, brought along": Signer(RSA.kid, NEXT_RSA.private).sign(jwk=NEXT_RSA.jwk),
        "another key, behind jku": Signer("x", NEXT_RSA.private).sign(jku=issuer.url),
        "no kid": RSA.sign(kid=...),
        "kid as a number": RSA.sign(kid=1),
        "an unknown kid": NEXT_RSA.sign(),
        "kid of a key of another kind": RSA.sign(kid=EC.kid),
        "alg none": RSA.sign(alg="none"),
        "alg of the other kind": RSA.sign(alg="ES256"),
        "alg of the other kind, and its kid": RSA.sign(alg="ES256", kid=EC.kid),
        "PS256": RSA.sign(alg="PS256"),
        "RS512": RSA.sign(alg="RS512"),
        "no signature": f"{head}.{body}.",
        "a signature of another length": f"{head}.{body}.{signature[:-4]}",
        "psychic": f"{ec_head}.{body}.{encoded(bytes(64))}",
        "psychic, of the group's order": f"{ec_head}.{body}.{encoded(ORDER + ORDER)}",
        "an empty ES256 signature": f"{ec_head}.{body}.",
        "an RSA signature of ones": f"{rsa_head}.{body}.{encoded(bytes(255) + bytes([1]))}",
        "expired": RSA.sign(valid(exp=NOW - LEEWAY - 1)),
        "no exp": EC.sign(valid(exp=...)),
        "other claims": f"{head}.{encoded(valid(sub=8))}.{signature}",
    }
    for name, token in forged.items():
        refused(user_seen(send, token), name)
    assert user_seen(send, good).status == 201


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551.to_bytes(32, "big")


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda signer: signer.kid)
@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"key_ops": ["sign"]},
        {"key_ops": 5},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": 5},
        {"d": "AQAB"},
        {"n": 5, "x": 5},
        {"n": None, "x": None},
        {"n": "", "x": ""},
        {"n": "é", "x": "é"},
        {"n": "AA", "x": "AA"},
        {"e": "AA", "y": "AA"},
        {"e": [], "y": {}},
        {"crv": "P-521", "n": whole(3)},
        {"crv": "secp256k1", "n": whole(2**2048)},
        {"kid": 5},
    ],
    ids=lambda change: ",".join(f"{name}={value!s:.9}" for name, value in change.items()),
)
def test_a_key_that_is_not_for_verifying_verifies_nothing(
    signer: Signer, change: Json, issuer: Loopback, send: Send
) -> None:
    issuer.answer = replies({"keys": [signer.jwk | change, {}, None, 5, "x"]})

    refused(user_seen(send, signer.sign()), str(change))


@pytest.mark.parametrize("signer", [SHORT_RSA, EC_384], ids=lambda signer: signer.kid)
def test_a_key_that_is_too_weak_or_of_another_curve_verifies_nothing(
    signer: Signer, issuer: Loopback, send: Send
) -> None:
    issuer.answer = replies({"keys": [signer.jwk, RSA.jwk]})

    refused(user_seen(send, signer.sign()), signer.kid)
    assert user_seen(send, RSA.sign()).status == 201


def test_of_two_keys_with_one_kid_neither_counts(issuer: Loopback, send: Send) -> None:
    twin = NEXT_RSA.jwk | {"kid": RSA.kid}
    issuer.answer = replies({"keys": [RSA.jwk, twin, EC.jwk]})

    refused(user_seen(send, RSA.sign()), "the first")
    refused(user_seen(send, Signer(RSA.kid, NEXT_RSA.private).sign()), "the second")
    assert user_seen(send, EC.sign()).status == 201


def slowly(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"keys":')
    handler.close_connection = True


FAULTS: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "an error": replies({"keys": [RSA.jwk]}, 500),
    "a redirect": replies({"keys": [RSA.jwk]}, 302, {"location": "/elsewhere"}),
    "no JSON": replies(b"<html>"),
    "no UTF-8": replies(b'{"keys":"\xff"}'),
    "another shape": replies([RSA.jwk]),
    "keys that are no list": replies({"keys": {"kid": RSA.jwk}}),
    "nested without end": replies(b"[" * 100_000),
    "a key set without end": replies({"keys": [RSA.jwk], "padding": "x" * 300_000}),
    "nothing": replies(b""),
    "an answer that is not gzip": replies(b"plain", headers={"content-encoding": "gzip"}),
    "half an answer": hangs_up,
    "a drip": slowly,
    "silence": lambda _: time.sleep(0.5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_while_the_issuer_fails_known_keys_serve_for_an_hour_and_no_others(
    fault: str, issuer: Loopback, send: Send, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user_seen(send, RSA.sign()).status == 201
    monkeypatch.setattr(jwks, "TIMEOUT_SECONDS", 0.2)
    issuer.answer = FAULTS[fault]

    clock(601)
    assert user_seen(send, RSA.sign()).status == 201
    refused(user_seen(send, NEXT_RSA.sign()), "an unknown kid")
    clock(3600)
    refused(user_seen(send, RSA.sign()), "a key of yesterday")

    monkeypatch.setattr(jwks, "TIMEOUT_SECONDS", 3)
    issuer.answer = replies({"keys": [RSA.jwk]})
    clock(5)
    assert user_seen(send, RSA.sign()).status == 201


def test_with_an_issuer_that_was_never_reached_every_token_is_refused(deployed: Deploy, send: Send) -> None:
    deployed(JWKS_URL="http://127.0.0.1:9/jwks", TOKEN_SECRET_ARN="")

    refused(user_seen(send, RSA.sign()), "no issuer")


def test_a_new_key_is_found_at_once_and_made_up_ones_do_not_flood_the_issuer(
    issuer: Loopback, send: Send, clock: Callable[[float], None]
) -> None:
    assert user_seen(send, RSA.sign()).status == 201
    for number in range(20):
        refused(user_seen(send, RSA.sign(kid=f"made up {number}")), "made up")
    assert issuer.requests == 1, "the first request was a moment ago"

    clock(61)
    issuer.answer = replies({"keys": [RSA.jwk, NEXT_RSA.jwk]})
    assert user_seen(send, NEXT_RSA.sign()).status == 201
    for number in range(20):
        refused(user_seen(send, RSA.sign(kid=f"made up {number}")), "made up")
    assert issuer.requests == 2

    clock(601)
    issuer.answer = replies({"keys": [NEXT_RSA.jwk]})
    refused(user_seen(send, RSA.sign()), "a key that was taken back")
    assert user_seen(send, NEXT_RSA.sign()).status == 201


def test_with_an_issuer_that_withdraws_all_keys_every_token_is_refused(
    issuer: Loopback, send: Send, clock: Callable[[float], None]
) -> None:
    assert user_seen(send, RSA.sign()).status == 201
    issuer.answer = replies({"keys": []})

    clock(601)

    refused(user_seen(send, RSA.sign()), "a withdrawn key")


def test_a_deployment_may_take_both_kinds_of_tokens(deployed: Deploy, stack: Stack, send: Send) -> None:
    with loopback() as served:
        served.answer = replies({"keys": [RSA.jwk]})
        deployed(JWKS_URL=served.url)

        assert user_seen(send, RSA.sign()).status == 201
        assert user_seen(send, hs256(stack.token_secret, valid())).status == 201
        refused(
            user_seen(send, hs256(RSA.pem, valid(), {"alg": "HS256", "kid": RSA.kid})),
            "the public key as secret",
        )


def test_keys_that_change_while_learners_are_at_work_cost_one_request_and_open_to_no_other_token(
    issuer: Loopback, send: Send, clock: Callable[[float], None]
) -> None:
    assert user_seen(send, EC.sign()).status == 201
    clock(61)
    issuer.answer = replies({"keys": [NEXT_RSA.jwk, EC.jwk]})
    forged = Signer(NEXT_RSA.kid, RSA.private)

    answers = at_once(
        *[lambda: [user_seen(send, EC.sign()), user_seen(send, EC.sign())]] * 4,
        *[lambda: [user_seen(send, NEXT_RSA.sign()), user_seen(send, NEXT_RSA.sign())]] * 4,
        *[lambda: [user_seen(send, forged.sign()), user_seen(send, RSA.sign(kid="made up"))]] * 4,
    )

    assert {each.status for pair in answers[:8] for each in pair} == {201}
    for pair in answers[8:]:
        for each in pair:
            refused(each, "forged while the keys change")
    refused(user_seen(send, RSA.sign()), "the key that went")
    assert issuer.requests == 2


# Revocation


def test_of_too_many_revoked_tokens_all_issued_before_the_last_one_are_refused(
    stack: Stack, ada: Learner, items_of: Any, hand_in: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "REVOKED_TOKENS", 3)
    tokens = [
        hs256(stack.token_secret, valid(sub=ada.user_id, iat=NOW - 60, jti=f"token {n}")) for n in range(6)
    ]
    newer = hs256(stack.token_secret, valid(sub=ada.user_id, iat=int(time.time()) + 4, jti="newer"))

    for n in range(5):
        hand_in("TokensRevoked", {"user_id": ada.user_id, "token_id": f"token {n}"})
        accounts.clear_cache()
        assert Learner(ada.send, tokens[n], ada.user_id).get("/sessions").status == 401
        statuses = [Learner(ada.send, each, ada.user_id).get("/sessions").status for each in tokens[n + 1 :]]
        assert set(statuses) == {200 if n < 3 else 401}

    assert Learner(ada.send, newer, ada.user_id).get("/sessions").status == 200
    account = items_of(ada)[f"USER#{ada.user_id}#ACCOUNT", "ACCOUNT"]
    assert [each.partition(" ")[2] for each in account["revoked_tokens"]["SS"]] == ["token 4"]


REVOCATIONS: dict[str, tuple[Json, Json]] = {
    "all tokens of the user": ({"iat": NOW - 60}, {"issued_before": "2100-01-01T00:00:00Z"}),
    "a token that does not tell when it was issued": ({}, {"issued_before": "1990-01-01T00:00:00Z"}),
    "one token": ({"jti": "stolen"}, {"token_id": "stolen"}),
}


@pytest.mark.parametrize("kind", REVOCATIONS)
def test_a_revocation_counts_within_a_minute_at_one_read_a_minute(
    kind: str,
    stack: Stack,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
    requests_to_table: Callable[[], Any],
    hand_in: Callable[..., Any],
) -> None:
    claims, revoked = REVOCATIONS[kind]
    user_id, passed = new_user_id(), 0.0
    token = hs256(stack.token_secret, valid(sub=user_id, **claims))
    another = hs256(stack.token_secret, valid(sub=user_id, iat=NOW - 30, jti="mine"))
    unknown = "GET", "/user/practice/few-shot-examples/1"

    class Time:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + passed

        time = staticmethod(time.time)

    monkeypatch.setattr(accounts, "time", Time)

    def ask(bearer: str) -> Answer:
        return send(*unknown, {"host": "localhost", "authorization": f"Bearer {bearer}"}, None)

    with requests_to_table() as requests:
        assert [ask(token).status for _ in range(5)] == [404] * 5
    assert len(requests) == 1 + 5, "one for the account, one each for the example"

    hand_in("TokensRevoked", {"user_id": user_id, **revoked})
    passed = 59.0
    with requests_to_table() as requests:
        for _ in range(5):
            refused(ask(token), kind)
    assert len(requests) == 1
    if kind != "all tokens of the user":
        assert ask(another).status == 404

"""Functions find the services of AWS where botocore finds them: any partition, any configured endpoint."""

from collections.abc import Iterator

import pytest

from practice.runtime import aws, signed


@pytest.fixture(autouse=True)
def no_endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    ):
        monkeypatch.delenv(name, raising=False)
    aws._session.cache_clear()  # botocore reads the environment once per session
    yield
    aws._session.cache_clear()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "secretsmanager.eu-central-1.amazonaws.com"),
        ("cn-north-1", "secretsmanager.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "secretsmanager.us-gov-west-1.amazonaws.com"),
        ("us-iso-east-1", "secretsmanager.us-iso-east-1.c2s.ic.gov"),
    ],
)
def test_secrets_are_read_in_the_partition_of_the_region(region: str, host: str) -> None:
    assert signed.endpoint("secretsmanager", region) == f"https://{host}"


def test_a_configured_endpoint_wins_and_that_of_the_service_wins_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert signed.endpoint("secretsmanager", "eu-central-1") == "http://127.0.0.1:4566"

    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:4567")
    aws._session.cache_clear()
    assert signed.endpoint("secretsmanager", "eu-central-1") == "http://127.0.0.1:4567"

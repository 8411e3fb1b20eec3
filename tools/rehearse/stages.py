"""What is deployed: `dev` with as little as it takes, `prod` with a value for every parameter, and an update of it."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from tools.deploy import parameters
from tools.rehearse.emulator import REGION, Emulator

DOMAIN = "practice.example.com"
LIVE_DOMAIN = "live.example.com"
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


def dev(emulator: Emulator, target: Mapping[str, str], models: Mapping[str, Any]) -> dict[str, str]:
    """`models`: those that run beside the emulator."""
    return {
        **parameters("dev", ""),
        **target,
        "TokenSecretArn": _secret(emulator, secrets.token_urlsafe(48)),
        "Models": json.dumps(models),
        "UnclaimedModels": "echo",
        "UserRequestsPerMinute": "0",
    }


def prod(emulator: Emulator, target: Mapping[str, str], models: Mapping[str, Any]) -> dict[str, str]:
    """Every parameter of the template; a test compares."""
    client = emulator.client
    certificate = client("acm").request_certificate(DomainName=DOMAIN)["CertificateArn"]
    zone = client("route53").create_hosted_zone(Name="example.com", CallerReference=secrets.token_hex(4))
    client("events").create_event_bus(Name="school")
    client("ssm").put_parameter(
        Name="/rehearsal/models", Type="String", Value=json.dumps({"a": {"provider": "echo"}})
    )
    client("s3").create_bucket(Bucket="rehearsal-models")
    client("s3").put_object(
        Bucket="rehearsal-models", Key="models.json", Body=json.dumps({"b": {"provider": "echo"}})
    )
    return {
        **parameters("prod", ""),
        **target,
        **PROD,
        "Models": json.dumps({**json.loads(PROD["Models"]), **models}),
        "TokenSecretArn": _secret(emulator, secrets.token_urlsafe(48)),
        "ProviderSecretArn": _secret(emulator, json.dumps({"openai": "sk-rehearsal"})),
        "CertificateArn": certificate,
        "LiveCertificateArn": client("acm").request_certificate(DomainName=LIVE_DOMAIN)["CertificateArn"],
        "HostedZoneId": zone["HostedZone"]["Id"].rpartition("/")[2],
        "KmsKeyArn": client("kms").create_key()["KeyMetadata"]["Arn"],
        "ModelsParameter": "/rehearsal/models",
        "ModelsObject": "s3://rehearsal-models/models.json",
        "AlarmTopicArn": client("sns").create_topic(Name="alarms")["TopicArn"],
    }


PROD = {
    "MemorySize": "512",
    "Release": "00112233445566778899",
    "ServerErrorPercent": "2",
    "LatencyMilliseconds": "15000",
    "SnapStart": "None",
    "ProvisionedConcurrency": "1",
    "JwksUrl": "https://login.example.com/jwks.json",
    "TokenIssuer": "https://login.example.com",
    "TokenAudience": "practice",
    "TokenUserClaim": "user_id",
    "TokenLeewaySeconds": "60",
    "CorsOrigins": "https://learn.example.com,https://teach.example.com",
    "DomainName": DOMAIN,
    "LiveDomainName": LIVE_DOMAIN,
    "LiveAccessLogs": "true",
    "ThrottlingRate": "200",
    "ThrottlingBurst": "400",
    "UserRequestsPerMinute": "1000",
    "DefaultModels": "claude-3-haiku-20240307,gpt-4o-mini",
    "UnknownClass": "default_models",
    "Models": json.dumps({"claude-3-haiku-20240307": {"provider": "bedrock", "id": MODEL}}),
    "UnclaimedModels": "echo",
    "BedrockModelArns": f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}",
    "KnowledgeBaseId": "REHEARSAL1",
    "TitleModel": "claude-3-haiku-20240307",
    "HistoryTokens": "2000",
    "EventBusName": "school",
    "CatalogueSource": "school.catalogue",
    "TokenRefusalsThreshold": "50",
    "CostPerDayThreshold": "10",
    "DailyTurns": "1000",
    "DailyTokens": "10000000",
    "DailyUsd": "50",
    "BudgetCap": "2048",
}

UPDATE = {
    "Release": "99887766554433221100",
    "SnapStart": "PublishedVersions",
    "ProvisionedConcurrency": "0",
    "LogLevel": "DEBUG",
    "CorsOrigins": "https://learn.example.com",
}


def _secret(emulator: Emulator, value: str) -> str:
    client = emulator.client("secretsmanager")
    return str(client.create_secret(Name=f"rehearsal-{secrets.token_hex(4)}", SecretString=value)["ARN"])

"""The services of AWS that functions have clients of."""

from typing import Final

SERVICES: Final = (
    "apigatewaymanagementapi",
    "bedrock-agent-runtime",
    "bedrock-runtime",
    "dynamodb",
    "events",
    "s3",
    "sqs",
)
DESCRIPTIONS: Final = "botocore_reduced"
"""Folder beside botocore in the layer: its descriptions of these services without their documentation."""

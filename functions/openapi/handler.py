"""GET /openapi.json"""

from practice.api import Reply, endpoint
from practice.contract import contract_text


@endpoint("GET /openapi.json")
def lambda_handler() -> Reply[str]:
    """This contract, as OpenAPI 3.1."""
    return Reply(contract_text())

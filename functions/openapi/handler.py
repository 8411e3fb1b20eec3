"""GET /openapi.json"""

from practice.http.contract import contract_text
from practice.http.endpoint import endpoint
from practice.http.replies import Reply


@endpoint("GET /openapi.json")
def lambda_handler() -> Reply[str]:
    """This contract, as OpenAPI 3.1."""
    return Reply(contract_text())

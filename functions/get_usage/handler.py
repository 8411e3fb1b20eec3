"""GET /user/practice/usage"""

from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.schemas.usage import Usage, UsageQuery
from practice.store import usage_views


@endpoint("GET /user/practice/usage")
def lambda_handler(caller: Caller, query: UsageQuery) -> Usage:
    """Turns, answers, tokens and cost, by day and model.

    Days are UTC days, at most 92; those with usage are listed. What models took for titles counts too. Responses that
    were added by POST, queue or import do not.
    """
    return usage_views.get(caller, query)

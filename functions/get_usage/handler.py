"""GET /user/practice/usage"""

from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.http.replies import Reply, rate_limit
from practice.schemas.usage import Usage, UsageQuery
from practice.store import usage_views


@endpoint("GET /user/practice/usage")
def lambda_handler(caller: Caller, query: UsageQuery) -> Reply[Usage]:
    """Turns, answers, tokens and cost, by day and model.

    Days are UTC days, at most 92; those with usage are listed. What models took for titles counts too. Responses that
    were added by POST, queue or import do not. Where today is among the days and a budget holds, `RateLimit` says what
    is left of it: of the user's, and with `class_id` of that class's.
    """
    usage, left = usage_views.get(caller, query)
    return Reply(usage, headers=rate_limit(left) if left else None)

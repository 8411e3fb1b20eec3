"""GET /user/practice/few-shot-examples"""

from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.example import ExamplePage, ExamplesQuery
from practice.store import examples


@endpoint("GET /user/practice/few-shot-examples")
def lambda_handler(caller: Caller, query: ExamplesQuery, pager: Pager) -> ExamplePage:
    """The caller's library, newest first."""
    return examples.page(caller, query, pager)

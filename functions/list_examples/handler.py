"""GET /user/practice/few-shot-examples"""

from practice.api import endpoint
from practice.auth import Caller
from practice.models.example_page import ExamplePage, ExamplesQuery
from practice.store import example_pages


@endpoint("GET /user/practice/few-shot-examples")
def lambda_handler(caller: Caller, query: ExamplesQuery) -> ExamplePage:
    """The caller's library, newest first."""
    return example_pages.page(caller, query)

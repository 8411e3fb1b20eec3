"""GET /user/practice/standings"""

from practice.caller import Caller
from practice.errors import StandingsNotFound, TooFewVoters
from practice.http.endpoint import endpoint
from practice.schemas.standings import Standings, StandingsQuery
from practice.store import standings


@endpoint("GET /user/practice/standings", refuses=(StandingsNotFound, TooFewVoters))
def lambda_handler(caller: Caller, query: StandingsQuery) -> Standings:
    """How the models of a class compare, by the caller's votes or by those of the whole class."""
    return standings.get(caller, query)

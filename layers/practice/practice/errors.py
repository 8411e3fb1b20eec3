"""The refusals of the domain. `http/replies.py` maps each to a status."""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class PracticeError(Exception):
    """A refusal the client can read: `detail` is a stable text that clients compare with."""

    detail: ClassVar[str]


class Unauthorized(PracticeError):
    """The reason goes to the log; the caller learns only that it is refused."""

    detail = "unauthorized"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadRequest(PracticeError):
    """The request cannot be carried out as it is."""


class BodyNotBase64(BadRequest):
    detail = "body is not valid base64"


class BodyNotUtf8(BadRequest):
    detail = "body is not valid UTF-8"


class ClassIdRequired(BadRequest):
    detail = "class_id_required"


class ClassNotFound(BadRequest):
    detail = "class_not_found"


class ClassNotActive(BadRequest):
    detail = "class_not_active"


class ClassHasNoModels(BadRequest):
    detail = "class_has_no_models"


class SessionHasNoClass(BadRequest):
    detail = "session_has_no_class_id"


class ModelNotAllowed(BadRequest):
    detail = "model_not_allowed_for_class"


class RequestedModelsNotFound(BadRequest):
    detail = "requested model_names not found in this session"


class RequestedModelsNotConfigured(BadRequest):
    detail = "requested model_names not configured for this class"


class TooManyModels(BadRequest):
    """A turn would ask more models than one may."""

    detail = "too_many_models"


class NoModelAnswered(PracticeError):
    """Its body also names the session and what went wrong with each model."""

    detail = "no_model_answered"


class Forbidden(PracticeError):
    """The caller may not do this."""


class OriginNotAllowed(Forbidden):
    """A browser opens a connection for a page of another origin."""

    detail = "origin_not_allowed"


class InvalidExamples(Forbidden):
    detail = "invalid_few_shot_example_ids"


class TooFewVoters(Forbidden):
    """The standings of a few would say how each of them voted."""

    detail = "too_few_voters"


class NotFound(PracticeError):
    """An object of another user is indistinguishable from one that does not exist."""


class SessionNotFound(NotFound):
    detail = "session not found"


class ModelNotFound(NotFound):
    detail = "model not found"


class ResponseNotFound(NotFound):
    detail = "response not found"


class ExampleNotFound(NotFound):
    detail = "few_shot_example_not_found"


class AgentNotFound(NotFound):
    detail = "agent not found or not accessible"


class UnknownAction(NotFound):
    """No route of the live API takes the action."""

    detail = "unknown action"


class TurnNotFound(NotFound):
    detail = "turn not found"


class RatingNotFound(NotFound):
    detail = "rating not found"


class VoteNotFound(NotFound):
    detail = "vote not found"


class StandingsNotFound(NotFound):
    """The caller has no vote that counts in the class."""

    detail = "class not found"


class ExportNotFound(NotFound):
    detail = "export not found"


class ImportNotFound(NotFound):
    detail = "import not found"


class Conflict(PracticeError):
    """The current state does not allow the request."""


class SessionFull(Conflict):
    """The session has handed out all of its ids, or has as many models as one may have."""

    detail = "session_full"


class TurnFinished(Conflict):
    """Only a turn that has not ended can be cancelled."""

    detail = "turn_finished"


class TurnNotFinished(Conflict):
    """Only a turn that has ended is followed, or judged."""

    detail = "turn_not_finished"


class TooFewAnswers(Conflict):
    """One answer compares with nothing."""

    detail = "too_few_answers"


class TooManyAnswers(Conflict):
    """More answers than there are labels."""

    detail = "too_many_answers"


class TooManyComparedModels(Conflict):
    """The user's votes in this class compare as many models as standings hold."""

    detail = "too_many_compared_models"


class AccountNotEmpty(Conflict):
    """An import needs an account without sessions and examples."""

    detail = "account_not_empty"


class ImportInProgress(Conflict):
    """Nothing else is created while an import runs."""

    detail = "import_in_progress"


class TooManyTransfers(Conflict):
    """An account has few exports and imports at the same time."""

    detail = "too_many_transfers"


class RequestInFlight(Conflict):
    """Another attempt with the same Idempotency-Key is running, for `seconds` more at most."""

    detail = "request_in_flight"

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = max(1, seconds)


class IdempotencyKeyReused(PracticeError):
    """The key was sent with another request before."""

    detail = "idempotency_key_reused"


class VersionConflict(PracticeError):
    """The object has another version than the client expects; `version` is the current one."""

    detail = "precondition_failed"

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class TooMany(PracticeError):
    """The caller uses up a quota."""


class TooManyRequests(TooMany):
    """The user passed the rate limit; this request is accepted in `seconds`."""

    detail = "too many requests"

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.seconds = math.ceil(wait)


class Left(NamedTuple):
    """What is left of a budget."""

    name: str
    quota: int
    remaining: int


class DayLeft(NamedTuple):
    """What is left of the budgets of a day, which ends in `seconds`."""

    budgets: Sequence[Left]
    seconds: int


class DailyBudgetSpent(TooMany):
    """A budget of the day does not hold what the request may use."""

    detail = "daily_budget_spent"

    def __init__(self, day: DayLeft) -> None:
        super().__init__(day)
        self.day = day
        self.seconds = day.seconds


class TooManyFollowers(TooMany):
    """A turn has as many followers as it may have."""

    detail = "too_many_followers"


class StoreUnavailable(PracticeError):
    """The table throttles, does not answer, or is too contended; the request itself is valid."""

    detail = "service unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StorageFull(PracticeError):
    """The user's items reached the 10 GB that tables with a local index allow one partition key."""

    detail = "storage_full"


class Invalid(Exception):
    """The request does not fit its schema: FastAPI's list of `type`, `loc`, `msg`."""

    def __init__(self, problems: list["Problem"]) -> None:
        super().__init__(problems)
        self.problems = problems


class Problem(dict[str, object]):
    """One entry of a 422."""

    def __init__(self, type_: str, loc: tuple[str | int, ...], msg: str) -> None:
        super().__init__(type=type_, loc=list(loc), msg=msg)

"""Every limit of the service, in one place. `docs/limits.md` gives the reason for each, and what happens at it."""

from typing import Final

KB: Final = 1024

MAX_ID: Final = 2**53 - 1
"""The largest integer a JavaScript number holds exactly."""
MAX_KNOWLEDGE_ID: Final = 2**63

TITLE_CHARACTERS: Final = 10_000
GENERATED_TITLE_CHARACTERS: Final = 30
"""Of a title that a model writes for a session without one."""
NOTES_CHARACTERS: Final = 100_000
KNOWLEDGE_IDS: Final = 1_000
SENT_IDS: Final = 10_000
"""Ids in an array as it is sent, duplicates included: what is wrong with each of them has to fit one answer."""
MODEL_NAME_CHARACTERS: Final = 256

PROMPT_BYTES: Final = 100 * KB
RESPONSE_BYTES: Final = 1024 * KB
RESPONSE_JSON_BYTES: Final = 2_120_000
"""The text of a response as JSON, where only control characters take more than two bytes each."""
EXAMPLE_BYTES: Final = 32 * KB
"""The two texts of an example together."""
SELECTED_EXAMPLES: Final = 50
SELECTION_BYTES: Final = 3_000_000
"""The selected examples as JSON: a whole number of fiftieths is reserved for each."""

OBJECT_BYTES: Final = 64 * KB
"""A free-form object as compact JSON."""
OBJECT_DEPTH: Final = 32

SESSION_MODELS: Final = 100
"""Of a class too."""
MODELS_BYTES: Final = 1_500_000
"""All models of a session with their parameters: one document, one response."""
TURN_MODELS: Final = 20
"""Asked by one turn."""
SESSION_IDS: Final = 2**15
"""Ids a session hands out over its life, to its settings, its models and its responses."""

USAGE_DAYS: Final = 92
"""Of one request for usage."""
DEFAULT_USAGE_DAYS: Final = 30
CONNECTIONS: Final = 10
"""Live connections of a user at the same time."""
FOLLOWERS: Final = 10
"""Of a turn at the same time."""
LIVE_ID_CHARACTERS: Final = 64
"""Of the id that a client gives a live request."""
LIVE_MESSAGE_BYTES: Final = 32 * KB
"""Of a message in either direction."""
DELTA_BYTES: Final = 16 * KB
"""The text of one delta, as JSON."""
FOLLOWER_BACKLOG_BYTES: Final = 1024 * KB
"""How far a follower may fall behind what is written."""
LIVE_TITLE_CHARACTERS: Final = 1_000
"""Of a session's title in a live message."""

PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
EXPANDED_PAGE_SIZE: Final = 20

FUNCTION_RESULT_BYTES: Final = 5_500_000
"""What a function may return; Lambda stops at 6 MB."""
BODY_BYTES: Final = 4_100_000
"""The JSON of a response, which takes a third more in base64."""
PROBLEMS: Final = 100
"""Listed in a 422."""
PROBLEM_NAME_CHARACTERS: Final = 256
"""Of a name in a 422 that the client made up."""
TOKEN_CHARACTERS: Final = 8 * KB
IDEMPOTENCY_KEY_CHARACTERS: Final = 255
DEDUP_ID_CHARACTERS: Final = 255

RATING_TAGS: Final = 8
TAG_CHARACTERS: Final = 40
COMMENT_CHARACTERS: Final = 10_000
JUDGED_ANSWERS: Final = 8
"""Compared by one vote: the labels A to H."""
CLASS_VOTERS: Final = 5
"""A class with fewer voters shows no standings, and changes of fewer voters do not show in them."""
COMPARED_MODELS: Final = 100
"""In the votes of one user in one class."""
COMPARED_BYTES: Final = 300 * KB
"""What these votes add up to, as one document: not more than one item holds."""

"""Reading one session: its own item, its settings, its models and its newest responses are neighbours in the table."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from practice import table
from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.schemas.example import Example
from practice.schemas.response import Response
from practice.schemas.session import OwnSession, Session
from practice.schemas.session_model import StoredModels
from practice.schemas.settings import FewShotLink, Link, Settings, StoredSettings
from practice.store.paging import Budget, Pager
from practice.table import Versioned, keys


@dataclass(slots=True)
class View:
    """A session as one moment's reading shows it, with the documents to base a change on."""

    session: OwnSession
    settings: StoredSettings
    models: StoredModels
    session_document: table.Document
    settings_document: table.Document
    models_document: table.Document
    live: list[table.Document] = field(default_factory=list)
    """The responses, newest first."""
    is_complete: bool = True
    """Whether these are all there are."""
    examples: dict[int, Example | None] = field(default_factory=dict)
    """Those of the library that were read; None for one that was deleted."""

    @property
    def responses(self) -> Iterator[Response]:
        """Newest first, read as they are taken: a page of compressed texts can be a gigabyte."""
        return (Response.model_validate_json(document.text) for document in self.live)

    def history(self, session_model_id: int, before: int) -> Iterator[Response]:
        """Those of one model with a lower id, in the same way."""
        for document in self.live:
            is_model = keys.model_in(document.string("of_model")) == session_model_id
            if is_model and keys.number_in(document.key.sk) < before:
                yield Response.model_validate_json(document.text)


def get_session(caller: Caller, session_id: int, pager: Pager, *, with_responses: bool) -> Versioned[Session]:
    """One request, and one for the selected examples."""
    view = read_view(caller.user_id, session_id, with_responses=with_responses)
    return Versioned(wire_session(caller.user_id, view, pager), view.session_document.version)


def get_settings(caller: Caller, session_id: int) -> Versioned[Settings]:
    """One request, and one for the selected examples."""
    key = keys.settings(caller.user_id, session_id)
    document = table.get(key)
    if document is None:
        raise SessionNotFound
    stored = StoredSettings.model_validate_json(document.text)
    examples = linked_examples(caller.user_id, (link.example_id for link in stored.links))
    return Versioned(settings_of(stored, examples), stored.version)


def read_view(user_id: int, session_id: int, *, with_responses: bool) -> View:
    """One request; a second one when the newest response alone is larger than a page.

    Raises NotFound when the session is not the user's or was deleted: items that are left below it are never shown.
    """
    span = keys.session_with_responses if with_responses else keys.session_without_responses
    found = table.read(span(user_id, session_id))
    documents = found.documents
    models_key = keys.models(user_id, session_id)
    while found.next_sk and found.next_sk > models_key.sk:  # settings and models alone fill a page
        found = table.read(span(user_id, session_id), after=found.next_sk)
        documents += found.documents
    by_key = {document.key: document for document in documents}
    try:
        session = by_key[keys.session(user_id, session_id)]
        settings = by_key[keys.settings(user_id, session_id)]
        models = by_key[models_key]
    except KeyError:
        raise SessionNotFound from None
    view = View(
        OwnSession.model_validate_json(session.text),
        StoredSettings.model_validate_json(settings.text),
        StoredModels.model_validate_json(models.text),
        session,
        settings,
        models,
    )
    if not with_responses:
        view.is_complete = "answered" not in models.item
        return view
    view.live = live(documents, view.models)
    while not view.live and found.next_sk:
        found = table.read(keys.responses(user_id, session_id), after=found.next_sk)
        view.live = live(found.documents, view.models)
    view.is_complete = found.next_sk is None
    return view


def live(documents: Iterable[table.Document], models: StoredModels) -> list[table.Document]:
    """Responses that are answered, and whose model was not deleted."""
    model_ids = {model.session_model_id for model in models.models}
    return [document for document in documents if is_live(document, model_ids)]


def is_live(document: table.Document, model_ids: Container[int]) -> bool:
    return (
        bool(document.content)
        and "of_model" in document.item
        and keys.model_in(document.string("of_model")) in model_ids
    )


def live_responses(documents: Iterable[table.Document], models: StoredModels) -> list[Response]:
    return [Response.model_validate_json(document.text) for document in live(documents, models)]


def linked_examples(user_id: int, example_ids: Iterable[int]) -> dict[int, Example]:
    """Those that exist. One request, none when there is nothing to ask for."""
    found = versioned_examples(user_id, example_ids)
    return {example_id: example.value for example_id, example in found.items()}


def examples_in(user_id: int, view: View, example_ids: Sequence[int]) -> list[Example]:
    """Those that exist, in this order. One request, none when the view has them."""
    missing = [example_id for example_id in example_ids if example_id not in view.examples]
    found = linked_examples(user_id, missing)
    view.examples |= {example_id: found.get(example_id) for example_id in missing}
    return [example for example_id in example_ids if (example := view.examples[example_id])]


def versioned_examples(user_id: int, example_ids: Iterable[int]) -> dict[int, Versioned[Example]]:
    found = table.fetch(keys.example(user_id, example_id) for example_id in example_ids)
    return {
        keys.number_in(key.sk): Versioned(Example.model_validate_json(document.text), document.version)
        for key, document in found.items()
    }


def settings_of(stored: StoredSettings, examples: dict[int, Example]) -> Settings:
    return Settings(
        **{name: getattr(stored, name) for name in _OWN_SETTINGS},
        few_shot_links=[
            _link(stored.setting_id, link, examples) for link in stored.links if link.example_id in examples
        ],
    )


_OWN_SETTINGS = [name for name in Settings.model_fields if name in StoredSettings.model_fields]


def _link(setting_id: int, link: Link, examples: dict[int, Example]) -> FewShotLink:
    return FewShotLink(
        id=link.id,
        setting_id=setting_id,
        example_id=link.example_id,
        sort_order=link.sort_order,
        created_at=link.created_at,
        example=examples[link.example_id],
    )


def wire_session(user_id: int, view: View, pager: Pager) -> Session:
    """The whole session as it is answered. One request when examples are selected."""
    examples = linked_examples(user_id, (link.example_id for link in view.settings.links))
    session = Session(
        **{name: getattr(view.session, name) for name in OwnSession.model_fields},
        settings=settings_of(view.settings, examples),
        responses=[],
        responses_next_cursor=None,
    )
    budget = pager.budget()
    budget.spend(session.model_dump_json())
    session.responses, older = embedded(view, budget, pager)
    session.responses_next_cursor = older
    return session


def embedded(view: View, budget: Budget, pager: Pager) -> tuple[list[Response], str | None]:
    """The newest responses that fit, ascending, and the cursor to those before them."""
    kept = fitting(view.responses, budget)
    complete = view.is_complete and len(kept) == len(view.live)
    session_id = view.session.session_id
    before = kept[-1].response_id if kept else keys.end_of(session_id)
    return kept[::-1], None if complete else older_cursor(pager, session_id, before)


def older_cursor(pager: Pager, session_id: int, before: int) -> str:
    return pager.cursor(before, "list_session_responses", session_id)


def fitting(responses: Iterable[Response], budget: Budget) -> list[Response]:
    kept = []
    for response in responses:
        if not budget.take(response.model_dump_json()):
            break
        kept.append(response)
    return kept

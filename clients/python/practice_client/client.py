"""One method for each operation. Written by `make openapi` from openapi.json."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from practice_client.models import (
    BlindTurn,
    Counts,
    EffectiveParameters,
    Example,
    ExamplePage,
    Expansion,
    Export,
    Import,
    OwnSession,
    Rating,
    Response,
    ResponsePage,
    Scope,
    Session,
    SessionModel,
    SessionPage,
    SessionWithResponses,
    SessionWithSettings,
    Settings,
    Sort,
    Standings,
    StylePreset,
    Tie,
    Turn,
    TurnAccepted,
    TurnAnswer,
    TurnPage,
    TurnWithSiblings,
    Usage,
    Vote,
)
from practice_client.transport import UNSET, Items, Transport, Unset


class Client(Transport):
    def list_sessions(
        self,
        *,
        page: int | Unset = UNSET,
        size: int | Unset = UNSET,
        cursor: str | Unset = UNSET,
        class_id: int | Unset = UNSET,
        project_id: int | Unset = UNSET,
        sort: Sort | Unset = UNSET,
        expand: Sequence[Expansion] | Unset = UNSET,
    ) -> SessionPage:
        """The caller's sessions, newest first."""
        made: SessionPage = self._request(
            "GET",
            "/user/practice/sessions",
            {200: SessionPage},
            query={
                "page": page,
                "size": size,
                "cursor": cursor,
                "class_id": class_id,
                "project_id": project_id,
                "sort": sort,
                "expand": expand,
            },
        )
        return made

    def iterate_sessions(
        self,
        *,
        size: int | Unset = UNSET,
        class_id: int | Unset = UNSET,
        project_id: int | Unset = UNSET,
        sort: Sort | Unset = UNSET,
        expand: Sequence[Expansion] | Unset = UNSET,
    ) -> Iterator[OwnSession | SessionWithSettings | SessionWithResponses | Session]:
        """All items of `list_sessions`, read in pages of `size`."""
        return self._walk(
            "/user/practice/sessions",
            SessionPage,
            {"size": size, "class_id": class_id, "project_id": project_id, "sort": sort, "expand": expand},
        )

    def create_session(
        self,
        *,
        class_id: int | Unset | None = UNSET,
        project_id: int | Unset | None = UNSET,
        knowledge_ids: Sequence[int] | Unset | None = UNSET,
        agent_id: int | Unset | None = UNSET,
        title: str | Unset | None = UNSET,
        notes: str | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> Session:
        """Opens a session, with default settings and one model for each model of its class."""
        made: Session = self._request(
            "POST",
            "/user/practice/sessions",
            {201: Session},
            body={
                "class_id": class_id,
                "project_id": project_id,
                "knowledge_ids": knowledge_ids,
                "agent_id": agent_id,
                "title": title,
                "notes": notes,
            },
            idempotency_key=idempotency_key,
        )
        return made

    def get_session(self, session_id: int, *, responses: int | Unset = UNSET) -> Session:
        """A session with its settings and its newest responses."""
        made: Session = self._request(
            "GET", f"/user/practice/sessions/{session_id}", {200: Session}, query={"responses": responses}
        )
        return made

    def update_session(
        self,
        session_id: int,
        *,
        responses: int | Unset = UNSET,
        class_id: int | Unset | None = UNSET,
        project_id: int | Unset | None = UNSET,
        knowledge_ids: Sequence[int] | Unset | None = UNSET,
        agent_id: int | Unset | None = UNSET,
        title: str | Unset | None = UNSET,
        notes: str | Unset | None = UNSET,
        if_match: str | None = None,
    ) -> Session:
        """Changes the fields that are sent: absent is unchanged, null clears."""
        made: Session = self._request(
            "PATCH",
            f"/user/practice/sessions/{session_id}",
            {200: Session},
            query={"responses": responses},
            body={
                "class_id": class_id,
                "project_id": project_id,
                "knowledge_ids": knowledge_ids,
                "agent_id": agent_id,
                "title": title,
                "notes": notes,
            },
            if_match=if_match,
        )
        return made

    def delete_session(self, session_id: int, *, if_match: str | None = None) -> None:
        """Deletes a session with its settings, models and responses; examples stay."""
        self._request("DELETE", f"/user/practice/sessions/{session_id}", {204: None}, if_match=if_match)

    def get_effective_parameters(self, session_id: int) -> EffectiveParameters:
        """What a turn would send to each model now, and who chose each value."""
        made: EffectiveParameters = self._request(
            "GET", f"/user/practice/sessions/{session_id}/effective-parameters", {200: EffectiveParameters}
        )
        return made

    def get_settings(self, session_id: int) -> Settings:
        """The settings of a session."""
        made: Settings = self._request(
            "GET", f"/user/practice/sessions/{session_id}/settings", {200: Settings}
        )
        return made

    def update_settings(
        self,
        session_id: int,
        *,
        style_preset: StylePreset | Unset | None = UNSET,
        style_params: Mapping[str, Any] | Unset | None = UNSET,
        generation_params: Mapping[str, Any] | Unset | None = UNSET,
        few_shot_example_ids: Sequence[int] | Unset | None = UNSET,
        if_match: str | None = None,
    ) -> Settings:
        """Merges parameters key by key; a selection of examples replaces the one before."""
        made: Settings = self._request(
            "PATCH",
            f"/user/practice/sessions/{session_id}/settings",
            {200: Settings},
            body={
                "style_preset": style_preset,
                "style_params": style_params,
                "generation_params": generation_params,
                "few_shot_example_ids": few_shot_example_ids,
            },
            if_match=if_match,
        )
        return made

    def update_model(
        self,
        session_model_id: int,
        *,
        is_primary: bool | Unset | None = UNSET,
        generation_params: Mapping[str, Any] | Unset | None = UNSET,
        if_match: str | None = None,
    ) -> SessionModel:
        """Makes a model the primary one, and merges its parameters."""
        made: SessionModel = self._request(
            "PATCH",
            f"/user/practice/models/{session_model_id}",
            {200: SessionModel},
            body={"is_primary": is_primary, "generation_params": generation_params},
            if_match=if_match,
        )
        return made

    def delete_model(self, session_model_id: int, *, if_match: str | None = None) -> None:
        """Deletes a model with its responses."""
        self._request("DELETE", f"/user/practice/models/{session_model_id}", {204: None}, if_match=if_match)

    def list_models(self, session_id: int) -> list[SessionModel]:
        """The models of a session, the primary first."""
        made: list[SessionModel] = self._request(
            "GET", f"/user/practice/sessions/{session_id}/models", {200: list[SessionModel]}
        )
        return made

    def add_model(
        self,
        session_id: int,
        *,
        model_name: str,
        is_primary: bool | Unset | None = UNSET,
        generation_params: Mapping[str, Any] | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> SessionModel:
        """Adds a model of the class, or merges the parameters into the one of that name."""
        made: SessionModel = self._request(
            "POST",
            f"/user/practice/sessions/{session_id}/models",
            {201: SessionModel},
            body={"model_name": model_name, "is_primary": is_primary, "generation_params": generation_params},
            idempotency_key=idempotency_key,
        )
        return made

    def list_responses(
        self, session_model_id: int, *, size: int | Unset = UNSET, cursor: str | Unset = UNSET
    ) -> Items[Response]:
        """The responses of a model, oldest first; the header x-next-cursor leads on when there are more."""
        made: Items[Response] = self._request(
            "GET",
            f"/user/practice/models/{session_model_id}/responses",
            {200: Items[Response]},
            query={"size": size, "cursor": cursor},
        )
        return made

    def iterate_responses(self, session_model_id: int, *, size: int | Unset = UNSET) -> Iterator[Response]:
        """All items of `list_responses`, read in pages of `size`."""
        return self._walk(
            f"/user/practice/models/{session_model_id}/responses", Items[Response], {"size": size}
        )

    def add_response(
        self,
        session_model_id: int,
        *,
        prompt_text: str,
        response_text: str,
        token_usage: Mapping[str, Any] | Unset | None = UNSET,
        latency_ms: int | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> Response:
        """Keeps a response that was made elsewhere."""
        made: Response = self._request(
            "POST",
            f"/user/practice/models/{session_model_id}/responses",
            {201: Response},
            body={
                "prompt_text": prompt_text,
                "response_text": response_text,
                "token_usage": token_usage,
                "latency_ms": latency_ms,
            },
            idempotency_key=idempotency_key,
        )
        return made

    def get_response(self, response_id: int) -> Response:
        """A response."""
        made: Response = self._request("GET", f"/user/practice/responses/{response_id}", {200: Response})
        return made

    def update_response(
        self,
        response_id: int,
        *,
        prompt_text: str | Unset = UNSET,
        response_text: str | Unset = UNSET,
        token_usage: Mapping[str, Any] | Unset | None = UNSET,
        latency_ms: int | Unset | None = UNSET,
        if_match: str | None = None,
    ) -> Response:
        """Changes the fields that are sent."""
        made: Response = self._request(
            "PATCH",
            f"/user/practice/responses/{response_id}",
            {200: Response},
            body={
                "prompt_text": prompt_text,
                "response_text": response_text,
                "token_usage": token_usage,
                "latency_ms": latency_ms,
            },
            if_match=if_match,
        )
        return made

    def delete_response(self, response_id: int, *, if_match: str | None = None) -> None:
        """Deletes a response."""
        self._request("DELETE", f"/user/practice/responses/{response_id}", {204: None}, if_match=if_match)

    def list_session_responses(
        self, session_id: int, *, size: int | Unset = UNSET, cursor: str | Unset = UNSET
    ) -> ResponsePage:
        """The newest responses of a session in the order of time; the cursor leads to older ones."""
        made: ResponsePage = self._request(
            "GET",
            f"/user/practice/sessions/{session_id}/responses",
            {200: ResponsePage},
            query={"size": size, "cursor": cursor},
        )
        return made

    def iterate_session_responses(self, session_id: int, *, size: int | Unset = UNSET) -> Iterator[Response]:
        """All items of `list_session_responses`, read in pages of `size`.

        Each page: Ascending by time; `next_cursor` leads to the older ones.
        """
        return self._walk(f"/user/practice/sessions/{session_id}/responses", ResponsePage, {"size": size})

    def list_examples(
        self,
        *,
        page: int | Unset = UNSET,
        size: int | Unset = UNSET,
        cursor: str | Unset = UNSET,
        is_active: bool | Unset = UNSET,
    ) -> ExamplePage:
        """The caller's library, newest first."""
        made: ExamplePage = self._request(
            "GET",
            "/user/practice/few-shot-examples",
            {200: ExamplePage},
            query={"page": page, "size": size, "cursor": cursor, "is_active": is_active},
        )
        return made

    def iterate_examples(
        self, *, size: int | Unset = UNSET, is_active: bool | Unset = UNSET
    ) -> Iterator[Example]:
        """All items of `list_examples`, read in pages of `size`."""
        return self._walk(
            "/user/practice/few-shot-examples", ExamplePage, {"size": size, "is_active": is_active}
        )

    def create_example(
        self,
        *,
        title: str | Unset | None = UNSET,
        input_text: str,
        output_text: str,
        meta: Mapping[str, Any] | Unset | None = UNSET,
        is_active: bool | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> Example:
        """Adds an example to the caller's library."""
        made: Example = self._request(
            "POST",
            "/user/practice/few-shot-examples",
            {201: Example},
            body={
                "title": title,
                "input_text": input_text,
                "output_text": output_text,
                "meta": meta,
                "is_active": is_active,
            },
            idempotency_key=idempotency_key,
        )
        return made

    def get_example(self, example_id: int) -> Example:
        """An example."""
        made: Example = self._request("GET", f"/user/practice/few-shot-examples/{example_id}", {200: Example})
        return made

    def update_example(
        self,
        example_id: int,
        *,
        title: str | Unset | None = UNSET,
        input_text: str | Unset = UNSET,
        output_text: str | Unset = UNSET,
        meta: Mapping[str, Any] | Unset | None = UNSET,
        is_active: bool | Unset = UNSET,
        if_match: str | None = None,
    ) -> Example:
        """Changes the fields that are sent; meta is replaced."""
        made: Example = self._request(
            "PATCH",
            f"/user/practice/few-shot-examples/{example_id}",
            {200: Example},
            body={
                "title": title,
                "input_text": input_text,
                "output_text": output_text,
                "meta": meta,
                "is_active": is_active,
            },
            if_match=if_match,
        )
        return made

    def delete_example(self, example_id: int, *, if_match: str | None = None) -> None:
        """Deletes an example; it disappears from every selection."""
        self._request(
            "DELETE", f"/user/practice/few-shot-examples/{example_id}", {204: None}, if_match=if_match
        )

    def run_session(
        self,
        *,
        class_id: int,
        prompt_text: str,
        model_names: Sequence[str] | Unset | None = UNSET,
        agent_id: int | Unset | None = UNSET,
        project_id: int | Unset | None = UNSET,
        knowledge_ids: Sequence[int] | Unset | None = UNSET,
        style_preset: StylePreset | Unset | None = UNSET,
        style_params: Mapping[str, Any] | Unset | None = UNSET,
        generation_params: Mapping[str, Any] | Unset | None = UNSET,
        few_shot_example_ids: Sequence[int] | Unset | None = UNSET,
        idempotency_key: str | None = None,
        prefer: str | None = None,
    ) -> TurnAnswer | TurnAccepted:
        """Opens a session of a class and runs its first turn.

        The session keeps the agent, the knowledge, the style, the parameters and the examples that are sent, and survives
        when no model answers.
        """
        made: TurnAnswer | TurnAccepted = self._request(
            "POST",
            "/user/practice/sessions/run",
            {201: TurnAnswer, 202: TurnAccepted},
            query={"class_id": class_id},
            body={
                "prompt_text": prompt_text,
                "model_names": model_names,
                "agent_id": agent_id,
                "project_id": project_id,
                "knowledge_ids": knowledge_ids,
                "style_preset": style_preset,
                "style_params": style_params,
                "generation_params": generation_params,
                "few_shot_example_ids": few_shot_example_ids,
            },
            idempotency_key=idempotency_key,
            prefer=prefer,
        )
        return made

    def chat(
        self,
        session_id: int,
        *,
        prompt_text: str,
        model_names: Sequence[str] | Unset | None = UNSET,
        after_turn_id: int | Unset | None = UNSET,
        idempotency_key: str | None = None,
        prefer: str | None = None,
    ) -> TurnAnswer | TurnAccepted:
        """Sends a prompt to the models of a session, all at the same time, and keeps every answer.

        With `Prefer: respond-async`, and when the answers are too big for one reply, the answer is 202 with the turn's
        `Location`. A model that fails is an entry in `errors`; when none answered, the answer is 502.
        """
        made: TurnAnswer | TurnAccepted = self._request(
            "POST",
            f"/user/practice/sessions/{session_id}/chat",
            {201: TurnAnswer, 202: TurnAccepted},
            body={"prompt_text": prompt_text, "model_names": model_names, "after_turn_id": after_turn_id},
            idempotency_key=idempotency_key,
            prefer=prefer,
        )
        return made

    def list_turns(
        self,
        session_id: int,
        *,
        size: int | Unset = UNSET,
        cursor: str | Unset = UNSET,
        leaf: int | Unset = UNSET,
    ) -> TurnPage:
        """The newest turns of a session in the order of time, each with its answers side by side.

        With `leaf`, those of that turn's branch alone: the turn and its ancestors. The cursor leads to older ones.
        """
        made: TurnPage = self._request(
            "GET",
            f"/user/practice/sessions/{session_id}/turns",
            {200: TurnPage},
            query={"size": size, "cursor": cursor, "leaf": leaf},
        )
        return made

    def iterate_turns(
        self, session_id: int, *, size: int | Unset = UNSET, leaf: int | Unset = UNSET
    ) -> Iterator[Turn]:
        """All items of `list_turns`, read in pages of `size`.

        Each page: Ascending by time; `next_cursor` leads to the older ones.

        A turn too big for one answer continues on the next page, under the same `turn_id`.
        """
        return self._walk(
            f"/user/practice/sessions/{session_id}/turns", TurnPage, {"size": size, "leaf": leaf}
        )

    def get_turn(self, session_id: int, turn_id: int, *, cursor: str | Unset = UNSET) -> TurnWithSiblings:
        """A turn: how far it is, its results so far, what made it.

        Of a turn too big for one answer the last results; the header `x-next-cursor` leads to those before.
        """
        made: TurnWithSiblings = self._request(
            "GET",
            f"/user/practice/sessions/{session_id}/turns/{turn_id}",
            {200: TurnWithSiblings},
            query={"cursor": cursor},
        )
        return made

    def cancel_turn(self, session_id: int, turn_id: int) -> None:
        """Cancels a turn; it stays readable, as cancelled.

        A queued turn asks no model. Of a running turn the models that have not answered stop within two seconds; the answers
        that are there stay.
        """
        self._request("DELETE", f"/user/practice/sessions/{session_id}/turns/{turn_id}", {204: None})

    def get_rating(self, response_id: int) -> Rating:
        """The rating of a response."""
        made: Rating = self._request("GET", f"/user/practice/responses/{response_id}/rating", {200: Rating})
        return made

    def put_rating(
        self,
        response_id: int,
        *,
        score: int,
        tags: Sequence[str] | Unset | None = UNSET,
        comment: str | Unset | None = UNSET,
        if_match: str | None = None,
    ) -> Rating:
        """Rates a response; another rating of it is replaced."""
        made: Rating = self._request(
            "PUT",
            f"/user/practice/responses/{response_id}/rating",
            {200: Rating},
            body={"score": score, "tags": tags, "comment": comment},
            if_match=if_match,
        )
        return made

    def delete_rating(self, response_id: int, *, if_match: str | None = None) -> None:
        """Deletes the rating of a response."""
        self._request(
            "DELETE", f"/user/practice/responses/{response_id}/rating", {204: None}, if_match=if_match
        )

    def get_blind_turn(self, session_id: int, turn_id: int, *, cursor: str | Unset = UNSET) -> BlindTurn:
        """The answers of a turn without their models, under labels that never change."""
        made: BlindTurn = self._request(
            "GET",
            f"/user/practice/sessions/{session_id}/turns/{turn_id}/blind",
            {200: BlindTurn},
            query={"cursor": cursor},
        )
        return made

    def get_vote(self, session_id: int, turn_id: int) -> Vote:
        """The vote of a turn, with the models of its answers."""
        made: Vote = self._request(
            "GET", f"/user/practice/sessions/{session_id}/turns/{turn_id}/vote", {200: Vote}
        )
        return made

    def put_vote(
        self,
        session_id: int,
        turn_id: int,
        *,
        label: str | Unset | None = UNSET,
        response_id: int | Unset | None = UNSET,
        tie: Tie | Unset | None = UNSET,
        blind: bool | Unset | None = UNSET,
        if_match: str | None = None,
    ) -> Vote:
        """Votes for the best answer of a turn, or for a tie, and reveals the models.

        A turn has one vote; another one replaces it, and is not blind.
        """
        made: Vote = self._request(
            "PUT",
            f"/user/practice/sessions/{session_id}/turns/{turn_id}/vote",
            {200: Vote},
            body={"label": label, "response_id": response_id, "tie": tie, "blind": blind},
            if_match=if_match,
        )
        return made

    def delete_vote(self, session_id: int, turn_id: int, *, if_match: str | None = None) -> None:
        """Withdraws the vote of a turn: every count is as if it had never been."""
        self._request(
            "DELETE",
            f"/user/practice/sessions/{session_id}/turns/{turn_id}/vote",
            {204: None},
            if_match=if_match,
        )

    def get_standings(
        self, *, class_id: int, scope: Scope | Unset = UNSET, blind: bool | Unset = UNSET
    ) -> Standings:
        """How the models of a class compare, by the caller's votes or by those of the whole class."""
        made: Standings = self._request(
            "GET",
            "/user/practice/standings",
            {200: Standings},
            query={"class_id": class_id, "scope": scope, "blind": blind},
        )
        return made

    def create_export(self) -> str | Export:
        """Everything of the caller's as NDJSON; 202 with the place of a job when that is too much for one answer."""
        made: str | Export = self._request("GET", "/user/practice/export", {200: str, 202: Export})
        return made

    def get_export(self, export_id: int) -> Export:
        """How far an export is, and where its file is once it is done."""
        made: Export = self._request("GET", f"/user/practice/export/{export_id}", {200: Export})
        return made

    def create_import(
        self, *, text: str | None = None, idempotency_key: str | None = None
    ) -> Counts | Import:
        """Puts an export back into an empty account; without a body, 202 with a link to upload a larger file to."""
        made: Counts | Import = self._request(
            "POST",
            "/user/practice/import",
            {201: Counts, 202: Import},
            body=text,
            idempotency_key=idempotency_key,
        )
        return made

    def get_import(self, import_id: int) -> Import:
        """How far an import is; while it waits for its file, where to upload it."""
        made: Import = self._request("GET", f"/user/practice/import/{import_id}", {200: Import})
        return made

    def get_usage(
        self, *, from_: str | Unset = UNSET, to: str | Unset = UNSET, class_id: int | Unset = UNSET
    ) -> Usage:
        """Turns, answers, tokens and cost, by day and model.

        Days are UTC days, at most 92; those with usage are listed. What models took for titles counts too. Responses that
        were added by POST, queue or import do not. Where today is among the days and a budget holds, `RateLimit` says what
        is left of it: of the user's, and with `class_id` of that class's.
        """
        made: Usage = self._request(
            "GET", "/user/practice/usage", {200: Usage}, query={"from": from_, "to": to, "class_id": class_id}
        )
        return made

    def openapi(self) -> dict[str, Any]:
        """This contract, as OpenAPI 3.1."""
        made: dict[str, Any] = self._request("GET", "/openapi.json", {200: dict[str, Any]})
        return made

"""Which turns of an imported session follow which. Ids are those of the file until they are written."""

from collections.abc import Iterator

from practice import table
from practice.schemas.session_model import StoredModels
from practice.schemas.transfer_line import DeletedTurnLine, TurnLine
from practice.schemas.turn import ANCESTORS, Ancestry
from practice.store.turns import Followed, among_siblings


class Branches:
    def __init__(self, models: StoredModels, session_id: int, shift: int) -> None:
        """Of a session whose ids are written `shift` higher."""
        self._models = models
        self._shift = shift
        self._beginning = Followed.nothing(session_id + shift)
        self._after: dict[int, int | None] = {}
        """Of the turns that do not follow each other by time."""
        self._ends: dict[int, int] = {}
        self._answered: dict[int, set[int]] = {}
        """The models of each turn that is shown with an answer or an error."""
        self._are_next: set[int] = set()

    def add(self, line: TurnLine | DeletedTurnLine) -> Ancestry | None:
        """None for a turn that follows the one before it by time."""
        self._ends[line.turn_id] = line.turn_id + (len(line.asked) if isinstance(line, TurnLine) else 1)
        if "after_turn_id" not in line.model_fields_set:
            return None
        self._after[line.turn_id] = line.after_turn_id
        ancestry = self._followed(line.after_turn_id).ancestry(line.turn_id + self._shift, self._models)
        if isinstance(line, TurnLine):
            self._answered[line.turn_id] = {each.session_model_id + self._shift for each in line.errors}
        if ancestry.is_next:
            self._are_next.add(line.turn_id)
        return ancestry

    def _followed(self, turn_id: int | None) -> Followed:
        if turn_id is None:
            return self._beginning
        ancestors: list[int] = []
        each: int | None = turn_id
        while each is not None and len(ancestors) <= ANCESTORS:
            ancestors.append(each + self._shift)
            if each not in self._after:
                break
            each = self._after[each]
        end = self._ends.get(turn_id, turn_id + 1) + self._shift
        return Followed(turn_id + self._shift, end, ancestors, is_whole=each is None)

    def count_answer(self, turn_id: int, session_model_id: int) -> None:
        if turn_id in self._answered:
            self._answered[turn_id].add(session_model_id)

    def attributes(self, turn_id: int) -> dict[str, table.Value | None]:
        """Of the items of its answers."""
        if turn_id not in self._after:
            return {}
        return {"after": table.number(self._written(self._after[turn_id]) or 0)}

    def rows(self, user_id: int) -> Iterator[table.Write]:
        """The turns among their siblings, when all their answers are known."""
        for turn_id, models in self._answered.items():
            after = self._written(self._after[turn_id])
            is_next = turn_id in self._are_next
            yield among_siblings(user_id, after, turn_id + self._shift, models, is_next=is_next)

    def _written(self, turn_id: int | None) -> int | None:
        return None if turn_id is None else turn_id + self._shift

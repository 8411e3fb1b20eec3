"""`python -m tools.provider_matrix`: writes what the stand-in answers into docs/turns.md, `--check` compares."""

import os
import sys
from pathlib import Path
from typing import Final

from local.stack import Stack
from tests.support import matrix
from tests.support.learners import in_process, learner, new_user_id
from tests.support.stand_in import StandIn

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "turns.md"
START: Final = "<!-- written by python -m tools.provider_matrix -->\n"
END: Final = "<!-- end -->\n"


def with_table(page: str, table: str) -> str:
    before, _, rest = page.partition(START)
    return before + START + table + END + rest.partition(END)[2]


def measured() -> str:
    with Stack() as stack, StandIn() as stand_in:
        os.environ["MODELS"] = matrix.configuration(stand_in.url)
        os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = stand_in.url
        ada = learner(in_process(stack), stack.token_secret, new_user_id())

        def class_of(*models: str) -> int:
            class_id = new_user_id()
            detail = {"version": 1, "updated_at": "2026-01-01T00:00:00Z", "class_id": class_id}
            detail |= {"status": "active", "primary_model": None, "allowed_models": list(models)}
            event = {"source": "practice.catalogue", "detail-type": "ClassUpdated", "detail": detail}
            stack.invoker.invoke("update_catalogue", event)
            return class_id

        return matrix.page(matrix.run(ada, class_of))


def main(arguments: list[str]) -> int:
    page = PAGE.read_text()
    wanted = with_table(page, measured())
    if "--check" not in arguments:
        PAGE.write_text(wanted)
    elif wanted != page:
        print("docs/turns.md is stale: python -m tools.provider_matrix", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Lists that have to be complete: a failure names what to add, and where."""

from collections.abc import Iterable


def assert_complete(listed: Iterable[str], wanted: Iterable[str], where: str) -> None:
    """`listed` is all that is wanted and nothing else."""
    listed, wanted = set(listed), set(wanted)
    missing, superfluous = sorted(wanted - listed), sorted(listed - wanted)
    assert not missing, f"add {', '.join(missing)} to {where}"
    assert not superfluous, f"remove {', '.join(superfluous)} from {where}"

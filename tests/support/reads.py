"""A GET of every endpoint whose path the ids of one learner fill, so that a new one needs no line in a list."""

from collections.abc import Iterator, Mapping

from tools.openapi import BASE, endpoints


def reads(ids: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Its name, and its path below `/user/practice`."""
    for endpoint in endpoints():
        if endpoint.method == "GET" and ids.keys() >= set(endpoint.path_parameters):
            yield endpoint.name, endpoint.path.removeprefix(BASE).format(**ids)

"""Where builds find warm caches: on the agent that built the same source for the same user last."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from builder_framework.domain.model import Build
from builder_framework.domain.states import State
from builder_framework.protocol import CacheUse, Phase

REMEMBERED = 10_000
"""Sources; each takes some 300 bytes."""

_HAS_BUILT = frozenset({Phase.BUILDING, Phase.TESTING, Phase.PUSHING})


class Warmth:
    """The agent (by its URL, which outlives its id) for each user and source. Not thread-safe."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._places: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._remembered = remembered

    def recall(self, builds: Iterable[Build]) -> None:
        """Take in old builds, the newest last."""
        for build in builds:
            self.learn(build)

    def learn(self, build: Build) -> None:
        """Its newest attempt is over; if it came as far as building, its cache is there."""
        attempt = build.current
        if attempt is None or attempt.live or build.request.cache is CacheUse.NONE:
            return
        if build.state is not State.SUCCEEDED and build.phase not in _HAS_BUILT:
            return
        key = _key(build)
        self._places[key] = attempt.placement.agent_url
        self._places.move_to_end(key)
        while len(self._places) > self._remembered:
            self._places.popitem(last=False)

    def of(self, build: Build) -> str | None:
        """The URL of the agent that is warm for it."""
        if build.request.cache is CacheUse.NONE:
            return None
        return self._places.get(_key(build))

    def by_place(self) -> Counter[str]:
        """URL of an agent -> the number of sources that it is warm for."""
        return Counter(list(self._places.values()))


def _key(build: Build) -> tuple[str, str]:
    return build.owner, build.request.origin

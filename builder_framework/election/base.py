"""What an election promises; `tests/contract/test_elections.py` holds every kind to it."""

from __future__ import annotations

import threading
from typing import Protocol


class Election(Protocol):
    """One process's candidature. After a resignation or a loss it may not be used again.

    At most one candidate is elected at a time, except that one whose session was lost may not have
    noticed yet: `Store.lead` makes sure that it cannot write.
    """

    def campaign(self, stopping: threading.Event) -> bool:
        """Block until elected (True) or until `stopping` is set (False). Faults are waited out."""
        ...

    def held(self) -> bool:
        """Whether this process is still the elected one. Answers at once, and never raises."""
        ...

    def resign(self) -> None:
        """Let somebody else be elected; does nothing when not elected."""
        ...

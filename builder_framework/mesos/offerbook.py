"""The resources of offers that are not answered yet, in Mesos' own words.

A launch has to name them exactly as they were offered, reservations and all.
"""

from __future__ import annotations

from collections.abc import Iterable

from builder_framework.mesos.translate import RawResource


class OfferBook:
    """Offer id -> its usable resources."""

    def __init__(self) -> None:
        self._offers: dict[str, tuple[RawResource, ...]] = {}

    def add(self, offer_id: str, resources: tuple[RawResource, ...]) -> None:
        """Remember an offer."""
        self._offers[offer_id] = resources

    def pop(self, offer_ids: Iterable[str]) -> list[tuple[RawResource, ...]]:
        """Forget offers; the resources of those that were still known."""
        found = (self._offers.pop(offer_id, None) for offer_id in offer_ids)
        return [resources for resources in found if resources is not None]

    def clear(self) -> None:
        """A new subscription voids all offers."""
        self._offers.clear()

"""What people ask of builds, as the loop takes it: here, or from the followers that accepted it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from builder_framework import failpoints
from builder_framework.domain import dedupe, supersede
from builder_framework.domain import events as ev
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.errors import ConflictError
from builder_framework.service.attendance import Attendance
from builder_framework.service.batch import Batch
from builder_framework.service.hot import HotBuilds
from builder_framework.service.inputs import Accepted, Cancel, Submit
from builder_framework.store.base import ATTENDED, CANCEL, JOINED


class Acceptance:
    """`window`: seconds, see `dedupe.joins`. `wish`: a build waits for offers."""

    def __init__(
        self,
        active: HotBuilds,
        attendance: Attendance,
        window: float,
        wish: Callable[[], None],
    ) -> None:
        self._active = active
        self._attendance = attendance
        self._window = window
        self._wish = wish

    def submit(self, item: Submit, batch: Batch) -> None:
        """A new build, or one that is there: of the same key, or of the same `dedupe.essence`."""
        key, owner = item.idempotency, item.event.owner
        known = batch.known_key(owner, key.key) if key else None
        if key is not None and known is not None:
            known.check(key)
            item.reply.fresh = False
            batch.replies.append((item.reply, batch.get(known.build_id)))
            return
        request = item.event.request
        if (same := self._same(request, owner, batch)) is not None:
            item.reply.fresh = False
            batch.replies.append((item.reply, batch.step(same.id, ev.Joined())))
            if key is not None:
                batch.use_key(owner, same.id, key)
            return
        group = supersede.group_of(request)
        others = supersede.superseded(request, owner, group, batch.group(group))
        build = batch.step(item.event.build_id, replace(item.event, supersedes=others))
        self._end_superseded(build, batch)
        failpoints.reach("T2.before")
        if key is not None:
            batch.use_key(owner, item.event.build_id, key)
        batch.replies.append((item.reply, build))
        self._wish()

    def _same(self, request: BuildRequest, owner: str, batch: Batch) -> Build | None:
        """The build that does for this request, too."""
        if not dedupe.applies(request):
            return None
        same = batch.same(request, owner)
        return same if same and dedupe.joins(request, same, batch.now, self._window) else None

    def _end_superseded(self, build: Build, batch: Batch) -> None:
        for build_id in build.supersedes:
            batch.step(build_id, ev.CancelRequested(build.owner, superseded_by=build.id))

    def cancel(self, item: Cancel, batch: Batch) -> None:
        """Raises ConflictError when it is over."""
        build = batch.get(item.build_id)
        if build.terminal:
            raise ConflictError(f"build {build.id} is over: {build.state.value}")
        cancelled = batch.step(item.build_id, ev.CancelRequested(item.by))
        batch.replies.append((item.reply, cancelled))

    def take_over(self, accepted: Accepted, batch: Batch) -> None:
        """Followers stored these builds and wishes; each row goes with the change it asks for."""
        batch.afterwards.append(accepted.taken.set)
        for item in accepted.items:
            batch.taken.append(item.seq)
            build = batch.get(item.build_id)
            if item.kind == ATTENDED:
                self._attendance.seen(item.build_id, batch.now)
            elif item.kind == JOINED:
                batch.step(item.build_id, ev.Joined())
            elif build.terminal:
                continue
            elif item.kind == CANCEL:
                batch.step(item.build_id, ev.CancelRequested(item.by))
            else:
                self._end_superseded(build, batch)
                batch.afterwards.append(partial(self._adopt, build, batch))
                self._wish()

    def _adopt(self, build: Build, batch: Batch) -> None:
        failpoints.reach("T3.before")
        if build.id not in batch.builds and build.id not in self._active:
            self._active.put(build, batch.now)
        failpoints.reach("T3.after")

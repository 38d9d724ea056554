"""Whether somebody may have this built, and with whose logins: by its project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from builder_framework.domain import projects as rules
from builder_framework.domain.access import Actor
from builder_framework.domain.model import BuildRequest
from builder_framework.domain.projects import Catalog
from builder_framework.errors import InvalidInputError
from builder_framework.people import Projects


def admitted(
    request: BuildRequest,
    actor: Actor,
    projects: Projects | None,
    apps: Sequence[str] = (),
) -> BuildRequest:
    """The request in its project, with what that has for it.

    `apps`: see `RequestPolicy.marathon_apps`.

    Raises InvalidInputError that lists all that is against it.
    """
    catalog = Catalog(()) if projects is None else projects.all()
    request = replace(request, project=catalog.project_of(request))
    name = request.project
    here = projects is not None and name is not None and catalog.get(name) is not None
    waiting = projects.waiting(name) if here and projects and name else 0
    if problems := rules.refusals(request, actor, catalog, waiting, apps):
        raise InvalidInputError(problems)
    credentials = projects.credentials(name) if here and projects and name else {}
    request, problems = rules.equipped(request, credentials)
    if problems:
        raise InvalidInputError(problems)
    return request

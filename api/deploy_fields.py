"""The body's field about what becomes of the image after its build."""

from __future__ import annotations

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from api.fields import MIN_SECONDS, Body, checked, fail, policy_of, within
from builder_framework.domain import apps
from builder_framework.domain.apps import DEFAULT_TIMEOUT, MarathonDeploy
from builder_framework.ports import RequestPolicy

AppId = Annotated[str, checked(apps.app_id)]


class MarathonBody(Body):
    """`deploy.marathon`: the app that gets the first of `images`, by digest."""

    app: AppId
    timeout: float | None = None

    @field_validator("timeout")
    @classmethod
    def _limits(cls, value: float | None, info: ValidationInfo) -> float | None:
        return within(value, MIN_SECONDS, policy_of(info).marathon_max_timeout, " s")


class DeployBody(Body):
    """`deploy`: where."""

    marathon: MarathonBody

    def to_deploy(self, policy: RequestPolicy) -> MarathonDeploy:
        """As the domain has it."""
        default = min(DEFAULT_TIMEOUT, policy.marathon_max_timeout)
        return MarathonDeploy(self.marathon.app, float(self.marathon.timeout or default))


class DeployFields(Body):
    """What becomes of the image after its build."""

    deploy: DeployBody | None = None

    @field_validator("deploy")
    @classmethod
    def _configured(cls, value: DeployBody | None, info: ValidationInfo) -> DeployBody | None:
        if value is not None and not policy_of(info).marathon:
            fail("no Marathon is configured here (BUILDER_MARATHON_URL)")
        return value

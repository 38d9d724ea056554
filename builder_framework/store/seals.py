"""What is sealed in the database, in which contexts, and the row that tells whose key it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa

from builder_framework import seal
from builder_framework.errors import ConfigError, FieldProblem, SchemaError, SealError
from builder_framework.seal import Sealer
from builder_framework.store import engine
from builder_framework.store import tables as t

# Rows of `settings`: what every process has to be able to open, and a mark.
_PROOF = "sealed"
_CLEAR_TEXT = "clear_text"
# Whoever changes a context has to seal all values anew in a migration.
_PROOF_CONTEXT = "settings/sealed/value"
_PROOF_TEXT = "builder-framework"


class Opener(Protocol):
    """What readers need of a `Sealer`."""

    def open(self, sealed: str, context: str) -> str:
        """Raises SealError."""
        ...


def of_request(build_id: str) -> str:
    """Context of every secret in `builds.request`."""
    return f"builds/{build_id}/request"


def of_url(delivery_id: str) -> str:
    """Context of `deliveries.url`."""
    return f"deliveries/{delivery_id}/url"


def of_fingerprint(build_id: str) -> str:
    """Context of `idempotency_keys.fingerprint`: a hash of passwords helps to guess them."""
    return f"idempotency_keys/{build_id}/fingerprint"


def prove(connection: sa.Connection, sealer: Sealer) -> None:
    """From now on processes need the sealer's first key."""
    value = sealer.seal(_PROOF_TEXT, _PROOF_CONTEXT)
    connection.execute(sa.update(t.settings).where(t.settings.c.name == _PROOF).values(value=value))


def check(connection: sa.Connection, sealer: Sealer | None) -> None:
    """Raises ConfigError unless the sealer has the key of this database; SchemaError.

    None: there is no key.
    """
    sealed = _value(connection, _PROOF)
    if sealed is None:
        raise SchemaError(
            "the database does not say which key its secrets are sealed with: restore a backup"
        )
    key, here = seal.key_of(sealed), sealer.key_ids if sealer else ()
    if sealer is None or (key is not None and key not in here):
        raise _missing(key, here)
    try:
        sealer.open(sealed, _PROOF_CONTEXT)
    except SealError as error:
        raise ConfigError([FieldProblem("secret_key", error.message)]) from None


def _missing(key: str | None, here: Sequence[str]) -> ConfigError:
    instead = f"the keys here are {', '.join(here)}" if here else "there is none here"
    problem = f"the secrets of the database are sealed with key {key}, and {instead}: give that one"
    return ConfigError([FieldProblem("secret_key", problem)])


def key_needed(url: str) -> str | None:
    """Id of the key that a database needs; None when nothing is sealed in it yet.

    Raises ConfigError, StoreUnavailableError.
    """
    parsed = engine.parse(url)
    path = engine.sqlite_file(parsed)
    if path is not None and not path.exists():
        return None
    opened = engine.create(parsed)
    try:
        with engine.told_apart(), engine.for_reads(opened).begin() as connection:
            if not sa.inspect(connection).has_table(t.settings.name):
                return None
            sealed = _value(connection, _PROOF)
    finally:
        opened.dispose()
    return seal.key_of(sealed) if sealed is not None else None


def holds_clear_text(connection: sa.Connection) -> bool:
    """Whether unused pages of the file may still show secrets as they once were."""
    return _value(connection, _CLEAR_TEXT) is not None


def forgot_clear_text(connection: sa.Connection) -> None:
    """From now on they do not."""
    connection.execute(sa.delete(t.settings).where(t.settings.c.name == _CLEAR_TEXT))


def _value(connection: sa.Connection, name: str) -> str | None:
    query = sa.select(t.settings.c.value).where(t.settings.c.name == name)
    value: str | None = connection.execute(query).scalar()
    return value

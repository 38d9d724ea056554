"""What is sealed in the database, in which contexts, and the row that tells whose key it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from builder_framework import seal
from builder_framework.errors import ConfigError, FieldProblem, SchemaError, SealError
from builder_framework.seal import Sealer
from builder_framework.store import engine
from builder_framework.store import tables as t

# Rows of `settings` that every process has to be able to open: the first is sealed with the key
# that everybody seals with, one for each other key with a key that rows may still be sealed with.
_PROOF = "sealed"
_OTHER_KEY = "sealed:"
# A row that is a mark.
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


def of_credential(credential_id: str) -> str:
    """Context of `credentials.value`."""
    return f"credentials/{credential_id}/value"


def current(connection: sa.Connection, sealer: Sealer) -> Sealer:
    """For what this transaction writes: all processes seal with one key, the database's.

    It stays that one until the transaction's end. Raises SealError when it is not here.
    """
    return _with(connection, _row(_PROOF).with_for_update(read=True), sealer)


def current_to_read(connection: sa.Connection, sealer: Sealer) -> Sealer:
    """The same for what is only looked up: it may be another one by the end of the transaction."""
    return _with(connection, _row(_PROOF), sealer)


def _with(connection: sa.Connection, query: sa.Select[Any], sealer: Sealer) -> Sealer:
    key = seal.key_of(connection.execute(query).scalar() or "")
    if key is None:
        raise seal.not_sealed(_PROOF_CONTEXT)
    return sealer.sealing_with(key)


def begin_change(connection: sa.Connection, sealer: Sealer) -> None:
    """From now on everybody seals with the sealer's first key; older ones stay necessary."""
    # Waits for transactions that seal with the old key.
    before = connection.execute(_row(_PROOF).with_for_update()).scalar_one()
    old = seal.key_of(before)
    if old == sealer.key_ids[0]:
        return
    rows, kept = t.settings, f"{_OTHER_KEY}{old}"
    connection.execute(sa.delete(rows).where(rows.c.name == kept))
    connection.execute(sa.insert(rows).values(name=kept, value=before))
    # Digests with the old key would be as good for guessing as that key is known; what they stood
    # for is found again once it is asked for again.
    connection.execute(sa.delete(t.identities))
    proof = sealer.seal(_PROOF_TEXT, _PROOF_CONTEXT)
    connection.execute(sa.update(rows).where(rows.c.name == _PROOF).values(value=proof))


def end_change(connection: sa.Connection) -> None:
    """From now on nobody needs another key than the one that everybody seals with."""
    connection.execute(sa.delete(t.settings).where(t.settings.c.name.startswith(_OTHER_KEY)))


def check(connection: sa.Connection, sealer: Sealer | None) -> None:
    """Raises ConfigError unless the sealer has the keys of this database; SchemaError.

    None: there is no key.
    """
    name = t.settings.c.name
    query = sa.select(name, t.settings.c.value).where(
        sa.or_(name == _PROOF, name.startswith(_OTHER_KEY))
    )
    sealed = {row.name: row.value for row in connection.execute(query)}
    if _PROOF not in sealed:
        raise SchemaError(
            "the database does not say which key its secrets are sealed with: restore a backup"
        )
    here = sealer.key_ids if sealer else ()
    for value in sealed.values():
        key = seal.key_of(value)
        if sealer is None or (key is not None and key not in here):
            raise _missing(key, here)
        try:
            sealer.open(value, _PROOF_CONTEXT)
        except SealError as error:
            raise ConfigError([FieldProblem("secret_key", error.message)]) from None


def _missing(key: str | None, here: Sequence[str]) -> ConfigError:
    instead = f"the keys here are {', '.join(here)}" if here else "there is none here"
    problem = f"secrets of the database are sealed with key {key}, and {instead}: give that one"
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
    value: str | None = connection.execute(_row(name)).scalar()
    return value


def _row(name: str) -> sa.Select[Any]:
    return sa.select(t.settings.c.value).where(t.settings.c.name == name)

"""All that a database holds, as whoever steals it would look at it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from builder_framework.redact import Redactor, Secret
from builder_framework.store import engine


def places(url: str) -> dict[str, str]:
    """Text of each place: columns of tables, and SQLite's files byte for byte."""
    parsed = engine.parse(url)
    found: dict[str, str] = {}
    opened = sa.create_engine(parsed)
    with opened.connect() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        for table in tables.sorted_tables:
            for row in connection.execute(sa.select(table)).mappings():
                for name, value in row.items():
                    place = f"{table.name}.{name}"
                    found[place] = f"{found.get(place, '')}{_text(value)}\n"
    opened.dispose()
    path = engine.sqlite_file(parsed)
    if path is not None:
        for file in path.parent.glob(f"{path.name}*"):
            found[file.name] = _text(file.read_bytes())
    return found


def shown(secrets: Iterable[str], url: str) -> list[tuple[str, str]]:
    """(secret, place) wherever one stands in any of the forms that the redactor knows."""
    plain, found = Redactor(), places(url)
    assert found
    return [
        (secret, place)
        for secret in secrets
        for place, text in found.items()
        if Redactor([Secret(secret)]).text(text) != plain.text(text)
    ]


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)

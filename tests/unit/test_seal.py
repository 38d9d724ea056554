"""A sealed value opens where it was sealed, with its key, unchanged; and nowhere else."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework import seal
from builder_framework.errors import InvalidValueError, SealError
from builder_framework.redact import Redactor, Secret
from builder_framework.seal import Sealer

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SEALER = Sealer([OLD])
HERE = "builds/b/request"


@given(st.text(st.characters()), st.text())
def test_what_was_sealed_is_opened_equal(text: str, context: str) -> None:
    """Any string, half a surrogate pair and the empty one included."""
    sealed = SEALER.seal(text, context)
    assert SEALER.open(sealed, context) == text
    assert seal.key_of(sealed) == SEALER.key_ids[0]


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12))
def test_a_sealed_value_shows_nothing_of_its_text(text: str) -> None:
    sealed = SEALER.seal(text, HERE)
    assert Redactor([Secret(text)]).text(sealed) == sealed


def test_nothing_is_sealed_twice_alike() -> None:
    assert len({SEALER.seal("same", HERE) for _ in range(100)}) == 100


@given(st.data())
def test_a_value_that_was_changed_or_cut_is_refused(data: st.DataObject) -> None:
    sealed = SEALER.seal("hunter2-hunter2", HERE)
    place = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.sampled_from("Aaz09_-:=+/ \n"))
    for changed in (
        sealed[:place] + other + sealed[place + 1 :],
        sealed[:place],
        sealed[:place] + sealed[place + 1 :],
        sealed + other,
    ):
        if changed == sealed:
            continue
        with pytest.raises(SealError) as caught:
            SEALER.open(changed, HERE)
        assert caught.value.message.startswith(HERE)
        assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("context", ["builds/c/request", "deliveries/b/url", ""])
def test_a_value_that_was_moved_is_refused(context: str) -> None:
    with pytest.raises(SealError, match="changed or moved after it had been sealed with key "):
        SEALER.open(SEALER.seal("hunter2", HERE), context)


@pytest.mark.parametrize("text", ["", "hunter2", "sealed:2:00000000:AAAA", "sealed:1:0:AAAA"])
def test_what_is_not_sealed_is_refused_without_being_shown(text: str) -> None:
    assert seal.key_of(text) is None
    with pytest.raises(SealError) as caught:
        SEALER.open(text, HERE)
    assert caught.value.message == f"{HERE} holds a value that is not sealed: restore a backup"


def test_a_missing_key_is_named_with_those_that_are_there() -> None:
    sealed = SEALER.seal("hunter2", HERE)
    others = Sealer([NEW, bytes(32)])
    with pytest.raises(SealError) as caught:
        others.open(sealed, HERE)
    (old,), (new, third) = SEALER.key_ids, others.key_ids
    assert caught.value.message == (
        f"{HERE} is sealed with key {old}, and the keys here are {new}, {third}: "
        "add that key to secret_key"
    )


def test_another_key_of_the_same_id_does_not_open() -> None:
    """Ids have 32 bits: they may meet."""
    (old,), (new,) = SEALER.key_ids, Sealer([NEW]).key_ids
    sealed = SEALER.seal("hunter2", HERE).replace(old, new)
    with pytest.raises(SealError, match="changed or moved"):
        Sealer([NEW]).open(sealed, HERE)


def test_while_keys_change_the_first_seals_and_all_open() -> None:
    both = Sealer([NEW, OLD])
    assert both.key_ids == (*Sealer([NEW]).key_ids, *SEALER.key_ids)
    assert both.open(SEALER.seal("old", HERE), HERE) == "old"
    assert Sealer([NEW]).open(both.seal("new", HERE), HERE) == "new"


def test_any_of_the_keys_can_be_told_to_seal() -> None:
    both = Sealer([NEW, OLD])
    (old,), (new,) = SEALER.key_ids, Sealer([NEW]).key_ids
    other = both.sealing_with(old)
    assert (other.key_ids, both.key_ids) == ((old, new), (new, old))
    assert seal.key_of(other.seal("x", HERE)) == old
    assert other.open(both.seal("x", HERE), HERE) == "x"
    with pytest.raises(SealError, match=f"the key to seal with is {new}, and the keys here are"):
        SEALER.sealing_with(new)


def test_an_id_follows_from_its_key_for_ever() -> None:
    """Databases hold these: another derivation would lock them out."""
    assert SEALER.key_ids == ("d97fc9e9",)
    sealed = "sealed:1:d97fc9e9:Btyy19ADPxSj5ER0FRtWQIRaAuJ0eYsyaLaFeQH3jKv3zrg"
    assert SEALER.open(sealed, HERE) == "hunter2"


@pytest.mark.parametrize("spell", [lambda key: base64.b64encode(key).decode(), bytes.hex])
def test_keys_are_base64_or_hex(spell: object) -> None:
    assert callable(spell)
    parsed = seal.parse(f" {spell(NEW)} ,\n{spell(OLD)},")
    assert parsed.key_ids == Sealer([NEW, OLD]).key_ids


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no key"),
        (" , ", "holds no key"),
        ("hunter2", "is no key"),
        (base64.b64encode(bytes(31)).decode(), "is no key"),
        (base64.b64encode(bytes(33)).decode(), "is no key"),
        (OLD.hex()[:-1], "is no key"),
        (base64.b64encode(OLD).decode().rstrip("="), "is no key"),
        (f"{OLD.hex()},{base64.b64encode(OLD).decode()}", "the same key twice"),
        ("ключ", "is no key"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str, complaint: str) -> None:
    with pytest.raises(InvalidValueError, match=complaint) as caught:
        seal.parse(text)
    assert text.strip(" ,") == "" or text not in caught.value.message


def test_a_new_key_is_one() -> None:
    keys = [seal.new_key() for _ in range(3)]
    assert len(seal.parse(",".join(keys)).key_ids) == 3


def test_a_sealer_shows_no_key() -> None:
    key = os.urandom(32)
    shown = f"{Sealer([key])!r} {vars(Sealer([key]))!r}"
    assert key.hex() not in shown
    assert repr(key) not in shown

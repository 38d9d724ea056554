"""Makes PyPI's libmesos loadable: seventeen small patches to the ELF file, no compiler.

``_scheduler.so`` of ``mesos.scheduler`` 1.11.0 was linked against OpenSSL 1.0.0 and a libcurl with
the symbol version ``CURL_OPENSSL_3``. No current system has them, and the paths without TLS never
call them. So these libraries are taken out of what the dynamic linker must load, and the few of
their symbols that it would resolve while loading become weak. Everything else binds lazily.
"""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, TypeVar

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import Section, SymbolTableSection

from devcluster.errors import ClusterError

#: Libraries to do without.
DROPPED = frozenset({"libssl.so.1.0.0", "libcrypto.so.1.0.0", "libcurl.so.4"})
#: Their only symbols with a data relocation, which lazy binding cannot put off.
WEAKENED = frozenset(
    {
        b"RSA_free",
        b"X509_NAME_free",
        b"GENERAL_NAME_free",
        b"PEM_read_bio_RSAPrivateKey",
        b"PEM_read_bio_RSA_PUBKEY",
    }
)
SectionType = TypeVar("SectionType", bound=Section)

DT_DEBUG = 21  # a tag that the dynamic linker ignores in a shared object
STB_WEAK = 2
#: struct Elf64_Sym: name, info, other, section index, value, size.
SYMBOL = struct.Struct("<IBBHQQ")
#: struct Elf64_Verneed: version, count, file, auxiliary, next.
VERSION_NEED = struct.Struct("<HHIII")


@dataclass(frozen=True)
class Patch:
    """Bytes to put at an offset of the file."""

    offset: int
    data: bytes


def relink(source: Path, target: Path) -> None:
    """Writes a loadable copy of `source` to `target`."""
    shutil.copyfile(source, target)
    with target.open("r+b") as stream:
        for patch in patches(stream):
            stream.seek(patch.offset)
            stream.write(patch.data)


def patches(stream: BinaryIO) -> list[Patch]:
    """Every change that makes this file loadable; raises when the file is not the one known."""
    elf = ELFFile(stream)
    libraries, symbols = _dynamic_patches(elf), _symbol_patches(elf)
    if len(libraries) != len(DROPPED) or len(symbols) != len(WEAKENED):
        raise ClusterError("the downloaded libmesos has another structure than the known one")
    return [*libraries, *_version_patches(elf), *symbols]


def symbol_addresses(path: Path, names: dict[str, str]) -> dict[str, int]:
    """Link-time addresses of symbols, local ones too, by the keys of `names`.

    The file has hundreds of thousands of symbols: their table is searched as bytes.
    """
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        table = _section(elf, ".symtab", SymbolTableSection)
        entries = table.data()
        strings = _strings_of(elf, table)
    addresses = {}
    for key, name in names.items():
        at = strings.find(b"\0" + name.encode() + b"\0") + 1
        position = _entry_of(entries, at) if at else -1
        if position < 0:
            raise ClusterError(f"the downloaded libmesos has no symbol {name}")
        addresses[key] = int(SYMBOL.unpack_from(entries, position)[4])
    return addresses


def _section(elf: ELFFile, name: str, kind: type[SectionType]) -> SectionType:
    section = elf.get_section_by_name(name)
    if not isinstance(section, kind):
        raise ClusterError(f"the downloaded libmesos has no section {name}")
    return section


def _strings_of(elf: ELFFile, section: Section) -> bytes:
    """The string table that a section's names are in."""
    return bytes(elf.get_section(section["sh_link"]).data())


def _name_at(strings: bytes, offset: int) -> bytes:
    return strings[offset : strings.index(b"\0", offset)]


def _entry_of(entries: bytes, name_offset: int) -> int:
    wanted = struct.pack("<I", name_offset)
    position = entries.find(wanted)
    while position >= 0 and position % SYMBOL.size:
        position = entries.find(wanted, position + 1)
    return position


def _dynamic_patches(elf: ELFFile) -> list[Patch]:
    section = _section(elf, ".dynamic", DynamicSection)
    size = section["sh_entsize"]
    return [
        Patch(section["sh_offset"] + number * size, struct.pack("<q", DT_DEBUG))
        for number, tag in enumerate(section.iter_tags())
        if tag.entry.d_tag == "DT_NEEDED" and getattr(tag, "needed", None) in DROPPED
    ]


def _version_patches(elf: ELFFile) -> list[Patch]:
    """Unlinks the libraries' records from the list of needed symbol versions."""
    section = _section(elf, ".gnu.version_r", GNUVerNeedSection)
    data, strings = section.data(), _strings_of(elf, section)
    position, kept = 0, []
    while True:
        *_, file, _auxiliary, distance = VERSION_NEED.unpack_from(data, position)
        if _name_at(strings, file).decode() not in DROPPED:
            kept.append(position)
        if not distance:
            break
        position += distance
    if not kept or kept[0]:
        raise ClusterError("the downloaded libmesos begins its versions with another library")
    distances = [after - before for before, after in pairwise(kept)] + [0]
    next_field = VERSION_NEED.size - 4
    found = [
        Patch(section["sh_offset"] + at + next_field, struct.pack("<I", distance))
        for at, distance in zip(kept, distances, strict=True)
        if data[at + next_field : at + next_field + 4] != struct.pack("<I", distance)
    ]
    dynamic = _section(elf, ".dynamic", DynamicSection)
    count = next(
        number
        for number, tag in enumerate(dynamic.iter_tags())
        if tag.entry.d_tag == "DT_VERNEEDNUM"
    )
    at = dynamic["sh_offset"] + count * dynamic["sh_entsize"] + 8
    return [*found, Patch(at, struct.pack("<Q", len(kept)))]


def _symbol_patches(elf: ELFFile) -> list[Patch]:
    section = _section(elf, ".dynsym", SymbolTableSection)
    strings = _strings_of(elf, section)
    found = []
    for number, entry in enumerate(SYMBOL.iter_unpack(section.data())):
        name, info, _other, section_index, *_ = entry
        # Compared in place: the linker may have stored a name as the tail of a longer one.
        if section_index == 0 and _name_at(strings, name) in WEAKENED:
            at = section["sh_offset"] + number * SYMBOL.size + 4
            found.append(Patch(at, bytes([STB_WEAK << 4 | info & 15])))
    return found

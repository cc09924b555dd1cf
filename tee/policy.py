"""The policy's table `[backends.tee]`, read strictly; every key may be left out.

platforms         accepted ones; by default all
measurements      which code may run: a table register -> list of hexadecimal values; or a list of
                  reference-value files; or "own-installation", the values derived from the
                  verifier's own installation of this package
reference_keys    keys of which one has to have signed each reference-value file
tcb_statuses      accepted statuses of Intel's TCB; by default UpToDate alone
advisories        accepted security advisories, such as INTEL-SA-00837
min_svn           table name -> least security version
attributes        table name -> true or false: overrides what is demanded of machine and guest
debug             true accepts guests that can be debugged; the verdict says so
roots             SHA-256 of roots that are trusted besides the vendors'
simulated_roots   SHA-256 of software roots; what they sign is marked as simulated
at                seconds since 1970 at which the evidence is judged, instead of now
nonces            file in which used nonces are kept (SQLite): each is accepted once
challenge         hexadecimal; that of a session has to be this one
max_age           seconds; how old a quote or receipt may be that no nonce or challenge vouches for
checkpoints       files of checkpoints that the verifier holds

Paths are taken from the policy's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proofml.errors import UsageError
from proofml.fields import FieldError, Fields, sha256_item, text_item
from proofml.keys import KEY_ID
from proofml.policy import Policy
from proofml.tee.about import NAME
from proofml.tee.attributes import ATTRIBUTES
from proofml.tee.binding import LATEST_TIME, MAX_CHALLENGE_BYTES
from proofml.tee.platform import Platform, Source
from proofml.tee.reference import Reference, ReferenceFile, read_registers
from proofml.tee.registers import REGISTERS, SVNS
from proofml.tee.roots import Roots

OWN_INSTALLATION: Final = "own-installation"
#: Of Intel's TCB information; one that is revoked can be accepted by nobody.
STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
MAX_SVN: Final = 2**32 - 1
MAX_FILES: Final = 64
_ADVISORY: Final = re.compile(r"[A-Z]{2,16}-SA-[0-9]{4,6}")


@dataclass(frozen=True)
class TeePolicy:
    """As it was read; files that it names are read when they are needed.

    Attributes:
        table: measurements given in the policy itself, one reference a platform.
        reference_files: instead of a table.
        own_installation: instead of either.
        attributes: name -> what it has to be, besides the platform's own demands.
        folder: from which paths are taken.
    """

    platforms: frozenset[Platform] = frozenset(Platform)
    table: tuple[Reference, ...] = ()
    reference_files: tuple[Path, ...] = ()
    own_installation: bool = False
    reference_keys: frozenset[str] = frozenset()
    tcb_statuses: frozenset[str] = frozenset({"UpToDate"})
    advisories: frozenset[str] = frozenset()
    min_svn: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, bool] = field(default_factory=dict)
    debug: bool = False
    roots: frozenset[str] = frozenset()
    simulated_roots: frozenset[str] = frozenset()
    at: int | None = None
    nonces: Path | None = None
    challenge: bytes | None = None
    max_age: int | None = None
    checkpoints: tuple[Path, ...] = ()
    source: str = "policy"

    @classmethod
    def read(cls, policy: Policy) -> TeePolicy:
        """Raises `UsageError` naming the key."""
        fields = policy.section(NAME)
        try:
            found = _read(fields, policy.source)
            fields.done()
        except FieldError as error:
            raise UsageError(f"{policy.source}: {error}; see docs/policy.md") from error
        return found

    def anchors(self, own_simulators: frozenset[str] = frozenset()) -> Roots:
        """Roots that this verifier knows; those of its own simulators are simulated ones."""
        found = Roots.vendor().with_custom(self.roots)
        return found.with_simulated(self.simulated_roots | own_simulators)

    def references(self) -> tuple[Reference, ...]:
        """What measurements are compared with, except those of the own installation.

        Raises:
            UsageError: a file that cannot be read, or is not signed as it has to be.
        """
        found = self.table
        for path in self.reference_files:
            found += ReferenceFile.load(path, self.reference_keys)
        return found


def _read(fields: Fields, source: str) -> TeePolicy:
    folder = Path(source).parent
    platforms = fields.items("platforms", _platform, default=tuple(Platform))
    if not platforms:
        raise FieldError(fields.at("platforms"), "at least one platform", "none")
    table, files, own = _measurements(fields, folder, source)
    keys = frozenset(fields.items("reference_keys", _key, default=()))
    if keys and not files:
        raise FieldError(
            fields.at("reference_keys"), "them together with reference-value files", "no file"
        )
    challenge = None
    if "challenge" in fields:
        challenge = fields.hexadecimal("challenge", longest=MAX_CHALLENGE_BYTES)
        if not challenge:
            raise FieldError(fields.at("challenge"), "at least one byte", "none")
    statuses = fields.items("tcb_statuses", _status, default=("UpToDate",))
    if not statuses:
        raise FieldError(fields.at("tcb_statuses"), "at least one status", "none")
    return TeePolicy(
        platforms=frozenset(platforms),
        table=table,
        reference_files=files,
        own_installation=own,
        reference_keys=keys,
        tcb_statuses=frozenset(statuses),
        advisories=frozenset(fields.items("advisories", _advisory, default=())),
        min_svn=_svns(fields.table("min_svn", default={})),
        attributes=_attributes(fields.table("attributes", default={})),
        debug=fields.boolean("debug", default=False),
        roots=frozenset(fields.items("roots", sha256_item, default=())),
        simulated_roots=frozenset(fields.items("simulated_roots", sha256_item, default=())),
        at=fields.integer("at", 0, LATEST_TIME) if "at" in fields else None,
        nonces=folder / fields.string("nonces") if "nonces" in fields else None,
        challenge=challenge,
        max_age=fields.integer("max_age", 1, LATEST_TIME) if "max_age" in fields else None,
        checkpoints=_paths(fields, "checkpoints", folder),
        source=source,
    )


def _measurements(
    fields: Fields, folder: Path, source: str
) -> tuple[tuple[Reference, ...], tuple[Path, ...], bool]:
    """The table as references, or files, or whether the own installation is meant."""
    if "measurements" not in fields:
        return (), (), False
    value = fields.raw("measurements")
    if isinstance(value, str):
        if value != OWN_INSTALLATION:
            expected = f'a table, a list of files, or "{OWN_INSTALLATION}"'
            raise FieldError(fields.at("measurements"), expected, value)
        return (), (), True
    if isinstance(value, list):
        files = _paths(fields, "measurements", folder)
        if not files:
            raise FieldError(fields.at("measurements"), "at least one file", "none")
        return (), files, False
    registers = read_registers(fields.table("measurements"), Platform)
    found = []
    for platform in Platform:
        own = {name: values for name, values in registers.items() if name in REGISTERS[platform]}
        if own:
            found.append(Reference(platform, "the policy's", own, Source.HARDWARE, source))
    return tuple(found), (), False


def _paths(fields: Fields, key: str, folder: Path) -> tuple[Path, ...]:
    return tuple(folder / name for name in fields.items(key, text_item, most=MAX_FILES, default=()))


def _platform(value: object, path: str) -> Platform:
    text = text_item(value, path)
    if text not in set(Platform):
        raise FieldError(path, "one of " + ", ".join(Platform), text)
    return Platform(text)


def _status(value: object, path: str) -> str:
    text = text_item(value, path)
    if text not in STATUSES:
        raise FieldError(path, "one of " + ", ".join(STATUSES), text)
    return text


def _advisory(value: object, path: str) -> str:
    text = text_item(value, path)
    if not _ADVISORY.fullmatch(text):
        raise FieldError(path, "an advisory's name such as INTEL-SA-00837", text)
    return text


def _key(value: object, path: str) -> str:
    text = text_item(value, path)
    if not KEY_ID.fullmatch(text):
        raise FieldError(path, "ed25519: and 64 hexadecimal digits", text)
    return text


def _svns(fields: Fields) -> dict[str, int]:
    known = sorted(set().union(*SVNS.values()))
    found = {}
    for name in map(str, fields.mapping):
        if name not in known:
            raise FieldError(fields.at(name), f"one of {', '.join(known)}", "it")
        found[name] = fields.integer(name, 0, MAX_SVN)
    return found


def _attributes(fields: Fields) -> dict[str, bool]:
    known = sorted(set().union(*ATTRIBUTES.values()))
    found = {}
    for name in map(str, fields.mapping):
        if name not in known:
            raise FieldError(fields.at(name), f"one of {', '.join(known)}", "it")
        found[name] = fields.boolean(name)
    return found

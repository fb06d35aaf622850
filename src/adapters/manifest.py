"""``manifest.json`` of a folder that was built here: what it was made of, and a checksum of each file.

It is written last, so a folder that has one is complete.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from domain.errors import ConfigurationError

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the folder."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder is made of."""

    format_version: int
    origin: dict[str, Any]
    """Name and fingerprint of the source, and the options."""
    versions: dict[str, str]
    files: dict[str, FileRecord]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, in one step."""
    partial = folder / (MANIFEST_NAME + ".partial")
    partial.write_text(json.dumps(asdict(manifest), indent=2), encoding="utf-8")
    partial.rename(folder / MANIFEST_NAME)


def read_manifest(folder: Path) -> Manifest | None:
    """Read a folder's manifest; None where there is none.

    Raises:
        ConfigurationError: it is broken.
    """
    file = folder / MANIFEST_NAME
    if not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        files = {name: FileRecord(**record) for name, record in raw["files"].items()}
        return Manifest(raw["format_version"], raw["origin"], raw["versions"], files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{file} is broken: remove {folder} and build it again") from error


def check_sizes(folder: Path) -> Manifest | None:
    """Compare the files' sizes with the manifest: quick enough for every start.

    Raises:
        ConfigurationError: a file is missing or of another size.
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        _raise_if_any(
            folder, [name for name, record in manifest.files.items() if not _fits(folder / name, record)]
        )
    return manifest


def verify_manifest(folder: Path) -> Manifest | None:
    """Compare the files' checksums with the manifest; None where there is no manifest.

    Raises:
        ConfigurationError: names each file that is missing or damaged.
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        damaged = [
            name
            for name, record in manifest.files.items()
            if not _fits(folder / name, record) or sha256_of(folder / name) != record.sha256
        ]
        _raise_if_any(folder, damaged)
    return manifest


def fingerprint_of(folder: Path) -> str:
    """Return a hash of a folder's manifest; without one, of its place and its files' sizes and times."""
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        return sha256_of(manifest)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def describe_files(folder: Path) -> dict[str, FileRecord]:
    """Return size and checksum of each file in a folder."""
    return {
        file.name: FileRecord(file.stat().st_size, sha256_of(file))
        for file in sorted(folder.iterdir())
        if file.is_file()
    }


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fits(file: Path, record: FileRecord) -> bool:
    return file.is_file() and file.stat().st_size == record.size_bytes


def _raise_if_any(folder: Path, damaged: list[str]) -> None:
    if damaged:
        raise ConfigurationError(
            f"{folder} is damaged: {', '.join(damaged)} missing or changed; "
            "remove the folder and build it again",
        )

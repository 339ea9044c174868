"""Hashes of a folder's files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def folder_sha256(folder: Path, pattern: str = "*") -> str:
    """SHA-256 over names and contents of the files of a folder (not of its sub-folders), in name order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.glob(pattern) if p.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

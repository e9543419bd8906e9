"""The index document: which files, by sha256 and size, one bundle or recipe is made of.

TUF signs the index (threshold 2) and the index authenticates `blobs/<sha256>`, so metadata stays small however many
files a bundle has. Format: docs/interfaces/repository-format-1.md.
"""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from signing.errors import DocumentInvalid
from signing.manifest import strict_json

MAX_INDEX_BYTES = 256 * 1024
MAX_BLOB_BYTES = 16 * 1024**3
MAX_FILES = 1024

Sha256Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
# Flat, but for the signatures; no dot first, so neither `.` nor `..` nor a hidden file.
FileName = Annotated[str, Meta(pattern=r"^(signatures/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Kind(StrEnum):
    BUNDLE = "bundle"
    RECIPE = "recipe"

    @property
    def document(self) -> str:
        return f"{self.value}.json"

    def target(self, digest: str) -> str:
        """Return the TUF path of the index of `digest`."""
        return f"{self.value}s/{digest}.json"


class Blob(Struct, frozen=True, forbid_unknown_fields=True):
    """Digest and exact size in bytes of one file."""

    sha256: Sha256Hex
    size: Annotated[int, Meta(ge=0, le=MAX_BLOB_BYTES)]


class Index(Struct, frozen=True, forbid_unknown_fields=True):
    """One bundle or recipe. `digest` is the sha256 of its document, by which allow-lists and people name it."""

    document: Literal["index"]
    format: Literal[1]
    kind: Kind
    name: Text
    version: Text
    digest: Sha256Hex
    files: Annotated[dict[FileName, Blob], Meta(min_length=1, max_length=MAX_FILES)]

    def blobs(self) -> dict[str, int]:
        """Return size by sha256: two files of one content are one blob."""
        return {blob.sha256: blob.size for blob in self.files.values()}


class IndexInvalid(ValueError):
    """Signed, and still no index this device takes."""


def read_index(raw: bytes, kind: Kind, digest: str) -> Index:
    """Read the index of `digest`.

    Raises:
        IndexInvalid: not an index in format 1, of something else, or two sizes for one digest.
    """
    try:
        index = strict_json(raw, Index, f"index of {kind} {digest[:12]}")
    except DocumentInvalid as error:
        raise IndexInvalid(str(error)) from error
    if index.kind is not kind or index.digest != digest:
        raise IndexInvalid(f"index of {index.kind} {index.digest[:12]} where that of {kind} {digest[:12]} belongs")
    document = index.files.get(kind.document)
    if document is None or document.sha256 != digest:
        raise IndexInvalid(f"index names no {kind.document} with the digest {digest[:12]}")
    if len(set(index.files.values())) != len(index.blobs()):
        raise IndexInvalid("index gives two sizes for one sha256")
    return index

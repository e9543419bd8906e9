"""The fast canonical text of TUF metadata is python-tuf's, whatever the strings and numbers in it."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets

from signing.freshness import canonical

END = datetime(2030, 1, 1, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["\\", '"', "\n", "é", "\x7f"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS
FIELDS = st.dictionaries(TEXTS, LEAVES | st.lists(LEAVES, max_size=3), max_size=4)


@settings(max_examples=60)
@given(st.dictionaries(TEXTS, st.integers(1, 10**9), max_size=8), FIELDS)
def test_of_a_snapshot(versions: dict[str, int], more: dict[str, object]) -> None:
    meta = {f"{name}.json": MetaFile(version) for name, version in versions.items()}
    fields = {f"x-{name}": value for name, value in more.items()}
    metadata = Metadata(Snapshot(version=1, expires=END, meta=meta, unrecognized_fields=fields))
    assert canonical(metadata) == metadata.signed_bytes


@settings(max_examples=60)
@given(st.dictionaries(TEXTS, st.binary(max_size=9), max_size=8))
def test_of_targets(files: dict[str, bytes]) -> None:
    targets = {path: TargetFile.from_data(path, data, ["sha256"]) for path, data in files.items()}
    metadata = Metadata(Targets(version=1, expires=END, targets=targets))
    assert canonical(metadata) == metadata.signed_bytes

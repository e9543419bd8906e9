"""The store of bundles and recipes on disk: files and links that follow `state.json`.

```
blobs/SHA256            every file once       bundles/DIGEST/...  recipes/DIGEST/...   hard links to blobs
trusts/SHA256/trust.json                      generations/N/{bundle,recipe,trust}      relative links
active previous staged  links to generations  state.json          what all of this means
```
Rules of this file:
  1. What a state names is durable before the state is; what no state names is garbage and may be half.
  2. `state.json` is replaced whole, then the links are turned one by one; opening the store turns what was left.
  3. Only process `slots` writes here, one at a time (daemon/slots/main.py holds the lock). Everybody else reads.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from signing.durable import sync_directory, write_durably
from signing.index import Kind
from signing.store_keep import blobs_of, trusts_of
from signing.store_state import Generation, Installed, StoreError, StoreState

STATE, REVOKED = "state.json", "revoked.json"
BLOBS, TRUSTS, GENERATIONS = "blobs", "trusts", "generations"
TRUST = "trust.json"
ACTIVE, PREVIOUS, STAGED = "active", "previous", "staged"
FOLDERS = {Kind.BUNDLE: "bundles", Kind.RECIPE: "recipes"}
LARGEST_SESSION = 0xFFFFFFFF
NOTHING_REVOKED = b'{"document":"revocations","format":1,"entries":[]}\n'

_state = msgspec.json.Decoder(StoreState)


def found_store(folder: Path, trust: bytes) -> StoreState:
    """Make an empty store whose first trust is `trust`, a trust.json that the caller verified; durable when it returns.

    Called by: enrolment (provisioning/founding.py) and `linewarden sim`. Founding it again changes nothing.

    Raises:
        StoreError: the folder holds a store of another trust.
        OSError: it cannot be written.
    """
    digest = hashlib.sha256(trust).hexdigest()
    if (folder / STATE).exists():
        state = read_state(folder)
        if digest in trusts_of(state):
            return state
        raise StoreError(f"{folder}: holds a store already; its trust changes by signed metadata only")
    folder.mkdir(parents=True, exist_ok=True)
    for name in (BLOBS, TRUSTS, GENERATIONS, *FOLDERS.values()):
        (folder / name).mkdir(exist_ok=True)
    sync_directory(folder.parent)
    put_trust(folder, trust)
    write_durably(folder / REVOKED, NOTHING_REVOKED)
    state = StoreState(1, digest, 1 + secrets.randbelow(LARGEST_SESSION))
    write_state(folder, state)
    return state


def read_state(folder: Path) -> StoreState:
    """Return what the store means. Anybody may ask.

    Raises:
        StoreError: there is no store, or its state was damaged.
    """
    try:
        return _state.decode((folder / STATE).read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{folder}: there is no store here: enrol this device first") from error
    except OSError as error:
        raise StoreError(f"{folder / STATE}: {error.strerror}; see that this user may read the store") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{folder / STATE}: damaged ({error}); enrol this device again") from error


def open_store(folder: Path) -> StoreState:
    """Return the state after turning the links that a power cut left. For the writer, who sweeps as well.

    Raises:
        StoreError: as `read_state`.
        OSError: the store cannot be written.
    """
    state = read_state(folder)
    turn_links(folder, state)
    return state


def write_state(folder: Path, state: StoreState) -> None:
    """Make a state the store's; everything that it names is there and durable.

    Raises:
        OSError: the store cannot be written; the earlier state holds.
    """
    write_durably(folder / STATE, msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
    turn_links(folder, state)


def place_of(folder: Path, kind: Kind, digest: str) -> Path:
    """Return the folder of an installed bundle or recipe."""
    return folder / FOLDERS[kind] / digest


def put_trust(folder: Path, trust: bytes) -> str:
    """Keep a trust document; return its digest."""
    digest = hashlib.sha256(trust).hexdigest()
    place = folder / TRUSTS / digest
    _make_folder(place)
    if not (place / TRUST).exists():
        write_durably(place / TRUST, trust)
    return digest


def put_blob(folder: Path, data: bytes | memoryview) -> str:
    """Write a file once, durably, and return its digest; one of the same name with other bytes is replaced."""
    digest = hashlib.sha256(data).hexdigest()
    path = folder / BLOBS / digest
    if not (path.is_file() and _digest_of(path) == digest):
        write_durably(path, data)
    return digest


def lay_out(folder: Path, kind: Kind, digest: str, files: Mapping[str, str]) -> Path:
    """Make the folder of a bundle or recipe of blobs that are there (path below it -> digest); durable when it returns.

    It belongs to the store only when a state names it. Doing it again repairs what is there.

    Raises:
        OSError: the disk is full or not writable; what was written is swept away later.
    """
    place = place_of(folder, kind, digest)
    parents = {(place / name).parent for name in files} | {place}
    for parent in sorted(parents):
        _make_folder(parent)
    for name, blob in files.items():
        _link(folder / BLOBS / blob, place / name)
    for parent in sorted(parents):
        sync_directory(parent)
    return place


def put_generation(folder: Path, number: int, one: Generation) -> None:
    """Make the three links of a generation; durable when it returns."""
    place = folder / GENERATIONS / str(number)
    _make_folder(place)
    above = Path("../..")
    _turn(place / Kind.BUNDLE, above / FOLDERS[Kind.BUNDLE] / one.bundle)
    _turn(place / Kind.RECIPE, above / FOLDERS[Kind.RECIPE] / one.recipe)
    _turn(place / "trust", above / TRUSTS / one.trust)
    sync_directory(place)


def turn_links(folder: Path, state: StoreState) -> None:
    """Let `active`, `previous` and `staged` lead where the state says."""
    turned = False
    for name, number in ((ACTIVE, state.active), (PREVIOUS, state.previous), (STAGED, state.staged)):
        turned |= _turn(folder / name, Path(GENERATIONS) / str(number) if number else None)
    if turned:
        sync_directory(folder)


def sweep(folder: Path, state: StoreState) -> None:
    """Remove what the state does not name: leavings of a power cut and what was collected."""
    for kind, name in FOLDERS.items():
        wanted = {digest for digest, one in state.installed.items() if one.kind is kind}
        _sweep_folder(folder / name, wanted)
        for digest in wanted:
            _sweep_files(folder / name / digest, state.installed[digest])
    _sweep_folder(folder / GENERATIONS, {str(number) for number in state.generations})
    _sweep_folder(folder / TRUSTS, trusts_of(state))
    _sweep_folder(folder / BLOBS, blobs_of(state))
    for leaving in folder.glob(".*.tmp"):
        leaving.unlink()


def _sweep_files(place: Path, entry: Installed) -> None:
    for path in place.rglob(".*.tmp"):
        if str(path.relative_to(place)) not in entry.files:
            path.unlink()


def _sweep_folder(folder: Path, wanted: set[str]) -> None:
    for path in sorted(folder.iterdir()):
        if path.name not in wanted:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder with what is in it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    for below in sorted(path.iterdir()):
        _remove(below)
    path.rmdir()


def _make_folder(place: Path) -> None:
    if not place.is_dir():
        place.mkdir()
        sync_directory(place.parent)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(blob: Path, path: Path) -> None:
    if path.exists() and path.samefile(blob):
        return
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    os.link(blob, temporary)
    os.replace(temporary, path)


def _turn(link: Path, target: Path | None) -> bool:
    """Point a link at `target`, or remove it; False if there was nothing to do."""
    now = Path(os.readlink(link)) if link.is_symlink() else None
    if now == target:
        return False
    if target is None:
        link.unlink()
        return True
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    return True

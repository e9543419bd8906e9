"""What freshness costs a device: the poll that finds nothing new, and a full warm refresh with one look-up.

    python tests/bench/bench_tuf.py [--targets 100000] [--bins 10] [--rounds 200] [--json FILE]

A repository on this disk (no network in the times), `--bins` as a power of two below `bundles`, versions only in
snapshot. Control: python-tuf's own client over the same files, in turn with ours. Bytes are those the fetcher gave. The
floor refuses to be asked, so no round reads or writes it; writes and fsyncs are counted by strace in a run of their
own, where it is installed.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from daemon.recorder.report import quantile
from signing.fetchers import Bytes, FileFetcher
from signing.floor import Versions
from signing.freshness import nothing_new
from signing.index import Kind
from tests.contract.update_world import NOW, Device, Keys, World, add_bundle, sign_all

TARGET_MS, TARGET_BYTES = 12.0, 60_000
WRITING = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,ftruncate,pwrite64"


class CountingFetcher(FileFetcher):
    """Counts the bytes it gives."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read = 0

    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        begins, chunks = super().open_from(path, start)
        return begins, self._counted(chunks)

    def _counted(self, chunks: Bytes) -> Bytes:
        for chunk in chunks:
            self.read += len(chunk)
            yield chunk


class UntouchedFloor:
    """Fails the bench if anything asks for the floor."""

    strength: Literal["tpm", "file"] = "tpm"

    def enrol(self, versions: Versions) -> None:
        raise AssertionError("the floor was written")

    def read(self) -> Versions:
        raise AssertionError("the floor was read")

    def raise_to(self, versions: Versions) -> None:
        raise AssertionError("the floor was written")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=100_000)
    parser.add_argument("--bins", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path, default=Path("build/bench-tuf.json"), metavar="FILE")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        _once(options.once)
        return 0
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-tuf-") as folder:
        world = _build(Path(folder) / "world", options.targets, options.bins)
        document = _measured(world, options.rounds)
        document["writes_seen_by_strace"] = _traced(world)
    document |= {"targets": options.targets, "bins": 1 << options.bins}
    document |= {"load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _show(document)
    untouched = document["device_files_untouched"] and not document["writes_seen_by_strace"]
    return int(not untouched or document["refresh"]["bytes"] > TARGET_BYTES)


def _build(folder: Path, targets: int, bins: int) -> World:
    """One real bundle among `targets` names; a device that has seen it."""
    folder.mkdir()
    world = World(folder, Keys())
    world.builder.init(world.keys.plan(bins), NOW)
    add_bundle(world, "1.0.0")
    _fill(world, targets - 1)
    sign_all(world.builder, world.keys)
    world.builder.publish(world.keys.online, NOW)
    device = Device(folder / "device")
    device.enrol(world.builder)
    device.install(world.public, world.index("1.0.0"))
    return world


def _fill(world: World, count: int) -> None:
    by_role: dict[str, dict[str, TargetFile]] = {}
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        path = Kind.BUNDLE.target(digest)
        by_role.setdefault(world.builder.role_for(path), {})[path] = TargetFile(900, {"sha256": digest}, path)
    for role, files in by_role.items():
        draft = world.builder.files.draft(role)
        assert draft is not None
        draft.signed.targets.update(files)
        world.builder.files.write_draft(role, draft)


def _measured(world: World, rounds: int) -> dict[str, Any]:
    fetcher = CountingFetcher(world.public)
    before = _stamps(world.device.folder)
    stock, root, digest = world.folder / "stock", world.builder.root_bytes(), world.index("1.0.0")
    acts: dict[str, Callable[[], None]] = {
        "poll": lambda: _poll(world.device, fetcher),
        "refresh": lambda: _refresh(world.device, fetcher, digest),
        "stock": lambda: _stock(stock, fetcher, root, digest),
    }
    _stock(stock, fetcher, root, digest)
    result: dict[str, Any] = _timed(fetcher, rounds, acts)
    result["device_files_untouched"] = _stamps(world.device.folder) == before
    cold = Device(world.folder / "cold")
    cold.enrol(world.builder)
    fetcher.read = 0
    started = time.perf_counter()
    cold.open(fetcher).index(Kind.BUNDLE, world.index("1.0.0"))
    result["cold"] = {"ms": round((time.perf_counter() - started) * 1e3, 2), "bytes": fetcher.read}
    return result


def _poll(device: Device, fetcher: FileFetcher) -> None:
    assert nothing_new(device.place, fetcher, NOW)


def _refresh(device: Device, fetcher: FileFetcher, digest: str) -> None:
    assert device.open(fetcher, floor=UntouchedFloor()).index(Kind.BUNDLE, digest) is not None


def _stock(folder: Path, fetcher: FileFetcher, root: bytes, digest: str) -> None:
    """The control: what python-tuf does by itself, without floor, order or fsync."""
    folder.mkdir(exist_ok=True)
    updater = Updater(str(folder), "metadata/", None, "targets/", fetcher, bootstrap=root)
    updater._trusted_set.reference_time = NOW
    updater.refresh()
    assert updater.get_targetinfo(Kind.BUNDLE.target(digest)) is not None


def _timed(fetcher: CountingFetcher, rounds: int, acts: dict[str, Callable[[], None]]) -> dict[str, Any]:
    """Return what each act takes, in ms, all acts in turn in each round."""
    times: dict[str, list[float]] = {name: [] for name in acts}
    read: dict[str, int] = {}
    for _ in range(rounds):
        for name, act in acts.items():
            fetcher.read = 0
            started = time.perf_counter()
            act()
            times[name].append((time.perf_counter() - started) * 1e3)
            read[name] = fetcher.read
    return {name: _figures(taken) | {"n": rounds, "bytes": read[name]} for name, taken in times.items()}


def _figures(times: list[float]) -> dict[str, Any]:
    found = {"median": median(times), "p90": quantile(sorted(times), 0.9), "min": min(times), "max": max(times)}
    return {f"ms_{name}": round(value, 3) for name, value in found.items()}


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = ((str(path), path.stat()) for path in sorted(folder.rglob("*")))
    return {name: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for name, status in found}


def _traced(world: World) -> list[str] | None:
    """Return what one poll and one refresh changed on the disk, as strace saw it; None without strace."""
    if shutil.which("strace") is None:
        return None
    log = world.folder / "strace"
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={WRITING},open,openat", sys.executable, "-B"]
    subprocess.run([*command, __file__, "--once", str(world.folder)], check=True)
    lines = log.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if "bench-begins" in line)
    changes = (line.partition(" ")[2] for line in lines[begin + 1 :])
    return [line for line in changes if "open" not in line.split("(")[0] or "O_WRONLY" in line or "O_RDWR" in line]


def _once(folder: Path) -> None:
    world = World(folder, Keys())
    device, fetcher = world.device, FileFetcher(world.public)
    try:
        os.open("bench-begins", os.O_RDONLY)
    except FileNotFoundError:
        _poll(device, fetcher)
        _refresh(device, fetcher, world.index("1.0.0"))


def _show(document: dict[str, Any]) -> None:
    rows = {"poll": "poll, nothing new", "refresh": "warm refresh + look-up", "stock": "the same, python-tuf alone"}
    for name, words in rows.items():
        row = document[name]
        spread = ", ".join(f"{each} {row[f'ms_{each}']:.2f}" for each in ("min", "p90", "max"))
        times = f"{row['ms_median']:7.2f} ms ({spread}, n {row['n']})"
        print(f"{words:26} {times}, {row['bytes']:6} bytes")
    print(f"{'first refresh + look-up':26} {document['cold']['ms']:7.2f} ms, {document['cold']['bytes']} bytes")
    ratio = document["refresh"]["ms_median"] / document["stock"]["ms_median"]
    print(f"{ratio:.2f} x python-tuf alone; wanted: {TARGET_MS:.0f} ms on an idle machine, {TARGET_BYTES} bytes")
    writes = document["writes_seen_by_strace"]
    seen = "strace is not installed" if writes is None else f"{len(writes)} writes, fsyncs or renames seen by strace"
    print(f"{document['targets']} targets in {document['bins']} bins; {seen}; floor never asked; ", end="")
    print(f"load {document['load_before']} -> {document['load_after']}")


if __name__ == "__main__":
    sys.exit(main())

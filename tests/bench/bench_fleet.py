"""What 100,000 devices cost their servers: static files, orders over DDI, a roll-out, the morning after an outage.

    PYTHONPATH=.:tests/contract python tests/bench/bench_fleet.py [--devices 100000] [--polls 500] [--write]

Requests in time are simulated with the product's own schedule (seeded); the price of one request is measured here, with
the product's own client against real servers on loopback. --write writes docs/fleet-scale.md from this run.
"""

import argparse
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from bench_servers import Relay, cpu_s, relay, static_server, tls_files
from fleet_report import News, Price, Run, report
from hawkbit_box import hawkbit
from uplink_world import Fleet, Uplink, enrol, open_uplink

from daemon.uplink.ddi import Orchestrator
from daemon.uplink.mirror import Unfloored
from daemon.uplink.web import open_web
from signing.fetchers import MirrorFetcher
from signing.freshness import Place, enrol_place, nothing_new, open_repository
from signing.http_fetcher import HttpFetcher

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "fleet-scale.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--polls", type=int, default=500)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.relative_to(ROOT)}")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        prices = list(measure(Path(folder), options.polls))
        news = measure_news(Path(folder) / "news")
    text = report(options.devices, prices, news, Run(before, os.getloadavg()[0]))
    print(text)
    if options.write:
        TABLE.write_text(text, encoding="utf-8")
    return 0


def measure(folder: Path, polls: int) -> Iterator[Price]:
    """Measure polls that find nothing new, in each way that a device may ask."""
    fleet = Fleet(_made(folder / "fleet"))
    pair = fleet.pair("1.0.0")
    fleet.allow([pair])
    fleet.publish()
    place = Place(folder / "place")
    enrol_place(place, fleet.builder.root_bytes())
    tls = tls_files(_made(folder / "tls"))
    yield _static("static file, http", fleet, place, polls, None)
    yield _static("static file, TLS with client certificates", fleet, place, polls, tls)
    yield _orders(_made(folder / "goosebit"), polls)


def _static(name: str, fleet: Fleet, place: Place, polls: int, tls: tuple[Path, ssl.SSLContext] | None) -> Price:
    """Every poll connects anew: servers close idle connections sooner than a device asks again."""
    now = datetime.now(UTC)
    with static_server(fleet.public, tls[0] if tls else None) as (pid, port), relay(port) as between:
        url, context = f"{'https' if tls else 'http'}://127.0.0.1:{between.port}", tls[1] if tls else None
        with closing(HttpFetcher(url, context)) as fetcher:
            open_repository(place, MirrorFetcher(fetcher, place.folder / "mirror"), Unfloored(), now)

        def poll(_number: int) -> None:
            with closing(HttpFetcher(url, context)) as fetcher:
                assert nothing_new(place, fetcher, now)

        return _priced(name, polls, pid, between, poll)


def _orders(folder: Path, polls: int) -> Price:
    """A tenth as many devices as polls ask goosebit in turn, each anew."""
    with hawkbit(folder) as server, relay(server.port) as between:

        def poll(number: int) -> None:
            with closing(open_web(None, "", lambda: None)) as web:
                device = Orchestrator(web, f"http://127.0.0.1:{between.port}", "DEFAULT", f"d{number % (polls // 10)}")
                if device.poll().wants_data:
                    device.register({"line": "L1"})

        for number in range(polls // 10):
            poll(number)
        return _priced("order over DDI (goosebit, SQLite), http", polls, server.pid, between, poll)


def _priced(name: str, polls: int, pid: int, between: Relay, poll: Callable[[int], None]) -> Price:
    between.reset()
    waited, own, served = [], time.process_time(), cpu_s(pid)
    for number in range(polls):
        began = time.perf_counter()
        poll(number)
        waited.append((time.perf_counter() - began) * 1e3)
    own_ms = (time.process_time() - own) * 1e3 / polls
    served_ms = (cpu_s(pid) - served) * 1e3 / polls
    return Price(name, polls, served_ms, own_ms, statistics.median(waited), between.up / polls, between.down / polls)


def measure_news(folder: Path) -> list[News]:
    """Let a whole uplink follow a fleet through a new timestamp, new lists, and a new bundle with its recipe."""
    fleet = Fleet(_made(folder / "fleet"))
    pairs = [fleet.pair("1.0.0")]
    fleet.allow(pairs)
    fleet.roll_out(*pairs)
    fleet.publish()
    state = _made(folder / "state")
    enrol(state, fleet.builder.root_bytes())
    with ExitStack() as opened:
        _, port = opened.enter_context(static_server(fleet.public, None))
        between = opened.enter_context(relay(port))
        uplink = open_uplink(state, repository=f"http://127.0.0.1:{between.port}")
        opened.enter_context(closing(uplink.duty))
        uplink.turn()
        found = [_news("timestamp signed anew", uplink, between, fleet, 0)]
        fleet.revoke("0" * 64)
        found.append(_news("lists or revocations", uplink, between, fleet, 0))
        pairs.append(fleet.pair("2.0.0"))
        fleet.allow(pairs)
        fleet.roll_out(*pairs)
        content = sum(size for sha256, size in fleet.blobs(pairs[1]).items() if sha256 not in fleet.blobs(pairs[0]))
        found.append(_news("bundle and recipe", uplink, between, fleet, content))
    return found


def _news(what: str, uplink: Uplink, between: Relay, fleet: Fleet, content: int) -> News:
    fleet.publish()
    between.reset()
    uplink.turn()
    assert uplink.status.ok, uplink.status.text
    return News(what, between.requests, between.up + between.down - content)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())

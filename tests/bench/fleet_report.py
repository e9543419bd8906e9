"""docs/fleet-scale.md out of one run of bench_fleet: tables, and what they mean."""

import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fleet_load import Scenario, roll_out, simulate

SEED, POLL_S, DDI_POLL_S, BUNDLE_MB = 5, 60.0, 600.0, 500.0
OUTAGE, SETTLED_S, END_S = (600, 4_200), 120, 7_200
PERCENTS, WIDTH_GBIT_S = (1, 10, 50, 100), 1.0
SHARES = (0.5, 0.99, 1.0)
DAY_S = 86_400.0
HEAD = """# What {devices:,} devices cost their servers

Written by `tests/bench/bench_fleet.py --write`; no figure is typed by hand. Requests in time are simulated with the
schedule of `daemon/uplink/schedule.py`, seed {seed}. The price of a request is measured with the product's own client
against real servers on loopback: n = {n} polls each, Python {python}, {cores} cores shared with other work,
load {before:.1f} before and {after:.1f} after. Static server: starlette under uvicorn, one process. hawkBit itself was
not run.
"""
POLL = """
## One poll that finds nothing new

{table}

One poll after another; each is a connection of its own, handshake included; bytes are those of the TCP streams.
"""
DAILY = """
## {devices:,} devices, day by day

{table}

Files are the same for all, so any number of servers or a CDN shares them; a server of orders works on every poll.
With an orchestrator and a large fleet let the orchestrator ask for {ddi:.0f} s between polls (its `polling.sleep`):
revocations and allow-lists come with the files, every {poll:.0f} s.
"""
NEWS = """
## Something new

{table}

The requests come within the {poll:.0f} s and the jitter in which every device polls once.
"""
ROLL_OUT = """
## A staged roll-out of {size:.0f} MB that share nothing with what is installed

{table}

A share counts devices by a hash of their id. What is activated is another matter: the allow-list of each line.
"""
SPREAD = """
## Switched on at once, and an hour without servers

{table}

*naive*: a control that polls and retries exactly every period. *limited*: servers that answer 1.5 times what is asked
in peace and refuse the rest. Last column: seconds after the servers came back.
"""


@dataclass(frozen=True, slots=True)
class Price:
    """What one request costs, from `n` of them: server CPU, this client's CPU and waiting in ms, bytes both ways."""

    name: str
    n: int
    server_ms: float
    client_ms: float
    p50_ms: float
    up: float
    down: float

    @property
    def bytes(self) -> float:
        return self.up + self.down


@dataclass(frozen=True, slots=True)
class News:
    """What one device asks for when something was published: `what`, requests, bytes both ways without content."""

    what: str
    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """The machine's load (1 min) before and after."""

    before: float
    after: float


def report(devices: int, prices: Sequence[Price], news: Sequence[News], run: Run) -> str:
    """Return the whole document. `prices`: static, static over TLS, orders."""
    static, tls, orders = prices
    python, cores = sys.version.split()[0], os.cpu_count()
    head = HEAD.format(
        devices=devices, seed=SEED, n=static.n, python=python, cores=cores, before=run.before, after=run.after
    )
    polled = ((static, POLL_S), (tls, POLL_S), (orders, POLL_S), (orders, DDI_POLL_S))
    daily = _table(
        ("", "every s", "requests/s", "GB/day", "CPU cores busy"),
        [_daily(devices, price, poll_s) for price, poll_s in polled],
    )
    parts = (
        head,
        POLL.format(table=_prices(prices)),
        DAILY.format(devices=devices, table=daily, ddi=DDI_POLL_S, poll=POLL_S),
        NEWS.format(table=_news(devices, news), poll=POLL_S),
        ROLL_OUT.format(table=_steps(devices), size=BUNDLE_MB),
        SPREAD.format(table=_spread(devices)),
    )
    return "".join(parts)


def _prices(prices: Sequence[Price]) -> str:
    head = ("", "server CPU ms", "polls/s a core", "client CPU ms", "p50 ms", "bytes up", "bytes down")
    return _table(head, list(map(_price, prices)))


def _price(price: Price) -> tuple[str, ...]:
    core = _f(1e3 / price.server_ms) if price.server_ms else "-"
    own, waited = _f(price.client_ms, 2), _f(price.p50_ms, 1)
    return price.name, _f(price.server_ms, 2), core, own, waited, _f(price.up), _f(price.down)


def _daily(devices: int, price: Price, poll_s: float) -> tuple[str, ...]:
    rate = devices / poll_s
    gigabytes, cores = rate * DAY_S * price.bytes / 1e9, rate * price.server_ms / 1e3
    return price.name, _f(poll_s), _f(rate), _f(gigabytes), _f(cores, 1)


def _news(devices: int, news: Sequence[News]) -> str:
    rows = [(one.what, str(one.requests), _f(one.bytes / 1e3, 1), _f(one.bytes * devices / 1e9, 1)) for one in news]
    return _table(("published", "requests a device", "kB a device, content apart", f"GB for {devices:,}"), rows)


def _steps(devices: int) -> str:
    steps = roll_out(devices, BUNDLE_MB, PERCENTS, WIDTH_GBIT_S)
    rows = [(f"{one.percent} %", f"{one.devices:,}", _f(one.gigabytes), _f(one.hours, 1)) for one in steps]
    return _table(("to", "devices added", "GB", f"hours of a line of {WIDTH_GBIT_S:.0f} Gbit/s"), rows)


def _spread(devices: int) -> str:
    limit = int(1.5 * devices / POLL_S)
    scenarios = (
        Scenario("uplink", devices, POLL_S, END_S, OUTAGE),
        Scenario("uplink, limited", devices, POLL_S, END_S, OUTAGE, limit),
        Scenario("naive, limited", devices, POLL_S, END_S, OUTAGE, limit, naive=True),
    )
    head = ("", "peak requests/s", "mean in peace", "peak/mean", "peak when back", "50 % / 99 % / all are served after")
    return _table(head, list(map(_scenario, scenarios)))


def _scenario(scenario: Scenario) -> tuple[str, ...]:
    load = simulate(scenario, random.Random(SEED), SHARES)
    peak, mean = load.peak(0, OUTAGE[0]), load.mean(SETTLED_S, OUTAGE[0])
    served = " / ".join(_f(load.served_s[share]) if share in load.served_s else "never" for share in SHARES)
    back = load.peak(OUTAGE[1], END_S)
    return scenario.name, f"{peak:,}", _f(mean), _f(peak / mean, 2), f"{back:,}", served


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _f(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}"

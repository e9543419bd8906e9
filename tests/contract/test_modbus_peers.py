"""Both roles of Modbus TCP and RTU against foreign peers: libmodbus (a C program of ours) and mbpoll."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_modbus import Cable, Foreign, compile_peer, mbpoll, served

from daemon.config import ModbusClient, ModbusRtu, WordOrder
from drivers.errors import DeviceLost
from drivers.gate.plc_bank import Bank
from drivers.links import RegisterLink, Reply
from drivers.modbus import rtu_link, tcp_link
from drivers.registers import load_map
from drivers.sim.box_fronts import Front, RtuFront, TcpFront

BAUD, UNIT, PATIENT_NS = 115_200, 1, 5_000_000_000
PERMIT = 1000
IDENTITY = 0x504C4301


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(compile_peer(tmp_path_factory.mktemp("peer")))


@pytest.fixture(params=["tcp", "rtu"])
def foreign_server(request: pytest.FixtureRequest, program: str) -> Iterator[RegisterLink]:
    """Our client on a libmodbus server that fills every register with its own offset."""
    if request.param == "tcp":
        server = Foreign(program, "server", "tcp", "0")
        link = tcp_link("127.0.0.1", int(server.hear().split()[1]), UNIT, PATIENT_NS)
        yield link
        link.close()
        server.close()
        return
    cable = Cable()
    with served(cable):
        server = Foreign(program, "server", "rtu", cable.ends[0], str(BAUD))
        assert server.hear() == "ready 0"
        link = rtu_link(cable.ends[1], BAUD, "none", UNIT, PATIENT_NS)
        yield link
        link.close()
        server.close()
    cable.close()


def gather(link: RegisterLink, count: int) -> list[Reply]:
    """Serve the link until so many answers came."""
    replies: list[Reply] = []
    end = time.monotonic() + 30
    while len(replies) < count:
        assert time.monotonic() < end, replies
        link.connect(time.monotonic_ns())
        replies += link.service(time.monotonic_ns())
        time.sleep(0.0005)
    return replies


def come_up(link: RegisterLink) -> None:
    end = time.monotonic() + 30
    while not link.connect(time.monotonic_ns()):
        assert time.monotonic() < end
        time.sleep(0.0005)


def test_our_client_reads_and_writes_a_libmodbus_server(foreign_server: RegisterLink) -> None:
    link = foreign_server
    come_up(link)
    link.read("read status", 0, 100)
    link.read("read ring", 10_000, 120)
    link.write("permit", PERMIT, [1, 2, 3, 0xFFFF])
    link.read("read back", PERMIT, 6)
    permit, status, ring, back = gather(link, 4)
    assert (permit.tag, permit.words) == ("permit", [])
    assert list(status.words) == list(range(100))
    assert list(ring.words) == list(range(10_000, 10_120))
    assert list(back.words) == [1, 2, 3, 0xFFFF, 1004, 1005]


def test_a_refusal_of_libmodbus_is_a_lost_link(foreign_server: RegisterLink) -> None:
    come_up(foreign_server)
    foreign_server.read("read nowhere", 19_999, 2)
    with pytest.raises(DeviceLost, match="refused read nowhere at 19999"):
        gather(foreign_server, 1)
    assert not foreign_server.up
    come_up(foreign_server)
    foreign_server.read("read last", 19_999, 1)
    assert list(gather(foreign_server, 1)[0].words) == [19_999]


@pytest.fixture(params=["tcp", "rtu"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=WordOrder)
def order(request: pytest.FixtureRequest) -> WordOrder:
    return WordOrder(request.param)


@pytest.fixture
def bank() -> Bank:
    bank = Bank(load_map())
    bank.set("map_version", 1)
    bank.set("plc_identity", IDENTITY)
    return bank


@pytest.fixture
def front(wire: str, order: WordOrder, bank: Bank, tmp_path: Path) -> Iterator[Front]:
    """The box's end of a wiring, served as the box does."""
    front: Front
    if wire == "tcp":
        front = TcpFront(bank, ModbusClient(word_order=order), 0)
    else:
        front = RtuFront(bank, ModbusRtu(device=str(tmp_path / "plc.tty"), baud=BAUD, word_order=order))
    with served(front):
        yield front
    front.close()
    assert list(tmp_path.iterdir()) == []


def place(front: Front, tmp_path: Path) -> tuple[str, ...]:
    """How the C peer is told where the front is."""
    return ("tcp", str(front.port)) if front.port else ("rtu", str(tmp_path / "plc.tty"), str(BAUD))


@pytest.mark.parametrize("order", [WordOrder.HIGH_FIRST], indirect=True)
def test_a_libmodbus_client_reads_and_writes_our_server(front: Front, bank: Bank, program: str, tmp_path: Path) -> None:
    client = Foreign(program, "client", *place(front, tmp_path))
    assert client.ask("r 0 4") == f"ok 1 0 {IDENTITY >> 16} {IDENTITY & 0xFFFF}"
    assert client.ask(f"w {PERMIT} 1 2 3 65535") == "ok"
    assert list(bank.words[PERMIT : PERMIT + 4]) == [1, 2, 3, 65535]
    assert client.ask("x 0 2 100 7 8") == "ok 1 0"
    assert list(bank.words[100:102]) == [7, 8]
    assert client.ask("w 8 1 1") == "error Illegal data address"
    assert client.ask("r 65000 2") == "error Illegal data address"
    assert client.ask(f"r {PERMIT} 4") == "ok 1 2 3 65535"
    client.close()


def test_mbpoll_finds_each_value_at_offset_and_at_4xxxx_number(
    front: Front, order: WordOrder, wire: str, tmp_path: Path
) -> None:
    """PDU offset n is what mbpoll calls reference n with -0, and n + 1 without; the map calls it 40001 + n."""
    where = ["-m", "tcp", "-p", str(front.port), "127.0.0.1"]
    if wire == "rtu":
        where = ["-m", "rtu", "-b", str(BAUD), "-P", "none", "-s", "2", str(tmp_path / "plc.tty")]
    wide = ["-t", "4:int", *(["-B"] if order is WordOrder.HIGH_FIRST else [])]
    offset = load_map().registers["plc_identity"].offset
    number = 40_001 + offset
    assert mbpoll("-t", "4", "-0", "-r", "0", *where) == {0: 1}
    assert mbpoll("-t", "4", "-r", "1", *where) == {1: 1}
    assert mbpoll(*wide, "-0", "-r", str(offset), *where) == {offset: IDENTITY}
    assert mbpoll(*wide, "-r", str(number - 40_000), *where) == {number - 40_000: IDENTITY}

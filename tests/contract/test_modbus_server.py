"""The PLC's Modbus server against foreign clients: mbpoll (libmodbus), pymodbus, and a hostile raw socket."""

import contextlib
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator

import pytest
from pymodbus.client import ModbusTcpClient

from drivers.gate.plc_bank import Bank
from drivers.modbus_server import MAX_CLIENTS, ModbusServer
from drivers.registers import load_map, map_path

HOST = "127.0.0.1"
ADU = struct.Struct(">HHHB")


class Running:
    """The server under a loop of its own, as in the box."""

    def __init__(self) -> None:
        self.bank = Bank(load_map())
        self.bank.words[0:24] = type(self.bank.words)("H", range(1, 25))
        self.server = ModbusServer(self.bank, HOST, 0, unit=1)
        self.port = self.server.port
        self._quit = threading.Event()
        self._do: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with select.epoll() as epoll:
            epoll.register(self.server.fileno(), select.EPOLLIN)
            while not self._quit.is_set():
                epoll.poll(0.005)
                self.server.service()
                while self._do:
                    getattr(self.server, self._do.pop())()
        self.server.close()

    def order(self, name: str) -> None:
        """Run a method of the server in its own loop and wait until it was run."""
        self._do.append(name)
        deadline = time.monotonic() + 10
        while self._do and time.monotonic() < deadline:
            time.sleep(0.001)

    def stop(self) -> None:
        self._quit.set()
        self._thread.join()


@pytest.fixture
def running() -> Iterator[Running]:
    box = Running()
    yield box
    box.stop()


@pytest.fixture
def client(running: Running) -> Iterator[ModbusTcpClient]:
    client = ModbusTcpClient(HOST, port=running.port, timeout=5)
    assert client.connect()
    yield client
    client.close()


def take(sock: socket.socket, count: int) -> bytes:
    """Receive exactly that many bytes."""
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, "the server closed the connection"
        data += part
    return data


def ask(sock: socket.socket, pdu: bytes, unit: int = 1) -> bytes:
    """Send one request and return the response PDU."""
    sock.sendall(ADU.pack(7, 0, len(pdu) + 1, unit) + pdu)
    head = take(sock, 7)
    transaction, protocol, length, echoed = ADU.unpack(head)
    assert (transaction, protocol, echoed) == (7, 0, unit)
    return take(sock, length - 1)


def connect(running: Running) -> socket.socket:
    return socket.create_connection((HOST, running.port), timeout=5)


def test_reads_the_same_area_with_both_function_codes(client: ModbusTcpClient) -> None:
    assert client.read_holding_registers(0, count=24).registers == list(range(1, 25))
    assert client.read_input_registers(3, count=2).registers == [4, 5]


def test_the_longest_read_and_the_last_register(running: Running, client: ModbusTcpClient) -> None:
    size = len(running.bank.words)
    running.bank.words[size - 1] = 77
    assert client.read_holding_registers(size - 125, count=125).registers[-1] == 77
    assert client.read_holding_registers(size - 1, count=2).exception_code == 2


def test_writes_go_into_device_areas_only(running: Running, client: ModbusTcpClient) -> None:
    permit = running.bank.map.permit.at(0, 5)
    assert not client.write_registers(permit, [1, 2, 3, 4]).isError()
    assert list(running.bank.words[permit : permit + 4]) == [1, 2, 3, 4]
    assert not client.write_register(108, 3).isError()
    assert running.bank.get("command") == 3
    for address, values in ((8, [1]), (99, [1, 1]), (111, [0, 0]), (permit - 21, [0]), (1255, [1, 2])):
        assert client.write_registers(address, values).exception_code == 2
    assert client.write_register(0, 9).exception_code == 2
    assert running.bank.words[0] == 1 and running.bank.words[1256] == 0


def test_read_write_in_one_request(running: Running, client: ModbusTcpClient) -> None:
    answer = client.readwrite_registers(read_address=0, read_count=3, write_address=100, values=[5, 6])
    assert answer.registers == [1, 2, 3]
    assert list(running.bank.words[100:102]) == [5, 6]


def test_writable_registers_are_those_the_map_gives_the_device(running: Running) -> None:
    document = tomllib.loads(map_path().read_text())
    given = [entry for entry in document["register"] if entry["access"] == "device"]
    assert {entry["name"] for entry in given} == set(load_map().device_registers)
    ours = {a for a in range(len(running.bank.words)) if running.bank.writable(a, 1)}
    fixed = {entry["address"] + k for entry in given for k in range({"u16": 1, "u32": 2}[entry["type"]])}
    blocks = [document["block"][name] for name in ("permit", "channel")]
    slots = {
        block["base"] + lane * block["stride"] + k
        for block in blocks
        for lane in range(block["count"])
        for k in range(block["slots"] * block["slot_stride"])
    }
    assert ours == fixed | slots


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (b"\x01\x00\x00\x00\x01", 1),
        (b"\x2b\x0e\x01\x00", 1),
        (b"\x83\x02", 1),
        (b"\x03\x00\x00\x00\x00", 3),
        (b"\x03\x00\x00\x00\x7e", 3),
        (b"\x03\x00", 3),
        (b"\x03\xff\xff\x00\x02", 2),
        (b"\x06\x00\x05\x00\x01", 2),
        (b"\x06\x00", 3),
        (b"\x10\x00\x64\x00\x02\x04\x00\x01", 3),
        (b"\x10\x00\x64\x00\x02\x03\x00\x01\x00", 3),
        (b"\x10\x00\x64\x00\x00\x00", 3),
        (b"\x17\x00\x00\x00\x01\x00\x00\x00\x01\x02\x00\x01", 2),
        (b"\x17\x00\x00\x00\x01\x00\x64", 3),
    ],
)
def test_bad_requests_get_the_right_exception(running: Running, pdu: bytes, code: int) -> None:
    before = running.bank.words[:]
    with connect(running) as sock:
        assert ask(sock, pdu) == bytes((pdu[0] | 0x80, code))
        assert ask(sock, b"\x03\x00\x00\x00\x01") == b"\x03\x02\x00\x01"
    assert running.bank.words == before


def test_an_unknown_unit_id_gets_exception_11(running: Running) -> None:
    with connect(running) as sock:
        assert ask(sock, b"\x03\x00\x00\x00\x01", unit=9) == b"\x83\x0b"
        assert ask(sock, b"\x03\x00\x00\x00\x01", unit=255) == b"\x03\x02\x00\x01"


def test_requests_in_pieces_and_in_a_row(running: Running) -> None:
    request = ADU.pack(1, 0, 6, 1) + b"\x03\x00\x00\x00\x02"
    with connect(running) as sock:
        for byte in request:
            sock.sendall(bytes((byte,)))
        assert take(sock, 13)[-4:] == b"\x00\x01\x00\x02"
        sock.sendall(request * 300)
        assert take(sock, 13 * 300)[-4:] == b"\x00\x01\x00\x02"


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n", b"\0\1\0\0\0\1\1\3", b"\0\1\0\0\1\x2c\1\3"])
def test_a_client_that_speaks_something_else_is_dropped(running: Running, junk: bytes) -> None:
    with connect(running) as sock, connect(running) as other:
        sock.sendall(junk)
        assert sock.recv(16) == b""
        assert ask(other, b"\x03\x00\x00\x00\x01") == b"\x03\x02\x00\x01"


def test_a_client_that_never_reads_is_dropped_and_holds_nobody_up(running: Running) -> None:
    request = ADU.pack(1, 0, 6, 1) + b"\x03\x00\x00\x00\x7d"
    with connect(running) as greedy, connect(running) as other:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.settimeout(0.05)
        dropped = False
        deadline = time.monotonic() + 20
        while not dropped and time.monotonic() < deadline:
            try:
                greedy.sendall(request * 200)
            except TimeoutError:
                continue
            except OSError:
                dropped = True
            assert ask(other, b"\x03\x00\x00\x00\x01") == b"\x03\x02\x00\x01"
        assert dropped


def test_half_open_clients_and_the_limit(running: Running) -> None:
    silent = [connect(running) for _ in range(MAX_CLIENTS - 1)]
    try:
        with connect(running) as last:
            assert ask(last, b"\x03\x00\x00\x00\x01") == b"\x03\x02\x00\x01"
            with connect(running) as refused:
                assert refused.recv(1) == b""
    finally:
        for sock in silent:
            sock.close()


def test_link_down_closes_and_refuses_and_comes_back_on_the_same_port(running: Running) -> None:
    with connect(running) as sock:
        assert ask(sock, b"\x03\x00\x00\x00\x01") == b"\x03\x02\x00\x01"
        running.order("shut")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(running)
    running.order("open")
    with connect(running) as sock:
        assert ask(sock, b"\x03\x00\x00\x00\x01") == b"\x03\x02\x00\x01"


def test_clock_is_taken_when_the_request_is_answered(running: Running, client: ModbusTcpClient) -> None:
    taken: list[int] = []

    def refresh() -> None:
        taken.append(len(taken) + 1)
        running.bank.set("clock_us", taken[-1])

    running.bank.refresh = refresh
    assert client.read_holding_registers(0, count=80).registers[14:16] == [0, 1]
    assert client.read_holding_registers(14, count=2).registers == [0, 2]
    client.read_holding_registers(18, count=4)
    client.read_holding_registers(0, count=14)
    assert taken == [1, 2]


def mbpoll(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed: apt-get install mbpoll")
    command = [program, "-m", "tcp", "-p", str(port), "-a", "1", "-1", "-0", "-q", "-o", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_mbpoll_reads_and_writes(running: Running) -> None:
    read = mbpoll(running.port, "-t", "4", "-r", "0", "-c", "3", HOST)
    assert read.returncode == 0, read.stderr
    assert [line.split()[1] for line in read.stdout.splitlines() if line.startswith("[")] == ["1", "2", "3"]
    wide = mbpoll(running.port, "-t", "4:int", "-B", "-r", "2", "-c", "1", HOST)
    assert str(3 * 65536 + 4) in wide.stdout
    assert mbpoll(running.port, "-t", "3", "-r", "1", "-c", "1", HOST).returncode == 0
    assert mbpoll(running.port, "-t", "4", "-r", "109", HOST, "2").returncode == 0
    assert mbpoll(running.port, "-t", "4", "-r", "100", HOST, "--", "11", "12").returncode == 0
    assert [running.bank.words[a] for a in (100, 101, 109)] == [11, 12, 2]
    refused = mbpoll(running.port, "-t", "4", "-r", "8", HOST, "2")
    assert refused.returncode != 0 and "Illegal data address" in refused.stderr
    assert running.bank.words[8] == 9


def test_two_clients_never_tear_a_write(running: Running) -> None:
    """A multi-register write is seen whole or not at all, whoever else writes."""
    permit = running.bank.map.permit.at(0, 0)
    quit_now = threading.Event()
    torn: list[list[int]] = []

    def writer(value: int) -> None:
        with connect(running) as sock:
            pdu = struct.pack(">BHHB4H", 16, permit, 4, 8, *[value] * 4)
            while not quit_now.is_set():
                ask(sock, pdu)

    threads = [threading.Thread(target=writer, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    with connect(running) as sock:
        for _ in range(200):
            words = list(struct.unpack(">4H", ask(sock, struct.pack(">BHH", 3, permit, 4))[2:]))
            if len(set(words)) != 1:
                torn.append(words)
    quit_now.set()
    for thread in threads:
        thread.join()
    assert torn == []

"""Modbus/TCP Security: who shows the wrong certificate, or none, gets no link, and the link says why."""

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from foreign_modbus import served

from drivers.errors import DeviceLost, DeviceRefused
from drivers.gate.plc_bank import Bank
from drivers.modbus import ModbusLink, tcp_link
from drivers.modbus_server import ModbusServer
from drivers.registers import load_map
from drivers.tls import client_context, server_context

HOST = "127.0.0.1"
TIMEOUT_NS = 5_000_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")


@pytest.fixture
def bank() -> Bank:
    return Bank(load_map())


@pytest.fixture
def plc(authority: Authority, bank: Bank) -> Iterator[ModbusServer]:
    """The PLC: TLS, and a certificate that names its address."""
    server = ModbusServer(bank, HOST, 0, tls=server_context(authority.file, *authority.issue("plc", HOST)))
    with served(server):
        yield server
    server.close()


def why(link: ModbusLink) -> str:
    """Return the reason that the link gives for not coming up."""
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end:
            assert not link.connect(time.monotonic_ns()), "the link came up"
            link.service(time.monotonic_ns())
            time.sleep(0.001)
    except DeviceLost as error:
        return str(error)
    finally:
        link.close()
    raise AssertionError("nothing was said")


def exchange(link: ModbusLink) -> list[int]:
    """Come up, write a permit, read it back."""
    end = time.monotonic() + 30
    while not link.connect(time.monotonic_ns()):
        assert time.monotonic() < end
        link.service(time.monotonic_ns())
        time.sleep(0.001)
    link.read("read back", 1000, 120)
    link.write("permit", 1000, [1, 2, 3, 4])
    replies = []
    while len(replies) < 2:
        assert time.monotonic() < end
        replies += link.service(time.monotonic_ns())
        time.sleep(0.001)
    link.close()
    return list(replies[1].words[:4])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_sides_known_and_the_registers_flow(
    plc: ModbusServer, authority: Authority, bank: Bank, version: ssl.TLSVersion
) -> None:
    """The certificate carries a Modbus role (1.3.6.1.4.1.50316.802.1), which the PLC may go by."""
    context = client_context(authority.file, *authority.issue("device", role="Linewarden"))
    context.maximum_version = version
    assert exchange(tcp_link(HOST, plc.port, 1, TIMEOUT_NS, tls=context)) == [1, 2, 3, 4]
    assert list(bank.words[1000:1004]) == [1, 2, 3, 4]


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2", "IEC 62443-4-2 CR 3.1", "Annex 11 draft §15")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_device_without_a_certificate_gets_no_link(
    plc: ModbusServer, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.maximum_version = version
    assert "the PLC refuses our certificate" in why(tcp_link(HOST, plc.port, 1, TIMEOUT_NS, tls=context))


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2", "IEC 62443-4-2 CR 3.1")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_device_of_another_authority_gets_no_link(
    plc: ModbusServer, authority: Authority, stranger: Authority, version: ssl.TLSVersion
) -> None:
    context = client_context(authority.file, *stranger.issue("device"))
    context.maximum_version = version
    assert "the PLC refuses our certificate" in why(tcp_link(HOST, plc.port, 1, TIMEOUT_NS, tls=context))


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2", "IEC 62443-4-2 CR 3.1")
def test_a_plc_of_another_authority_gets_no_link(plc: ModbusServer, authority: Authority, stranger: Authority) -> None:
    context = client_context(stranger.file, *authority.issue("device"))
    assert "certificate of the PLC is not accepted" in why(tcp_link(HOST, plc.port, 1, TIMEOUT_NS, tls=context))


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2")
@pytest.mark.parametrize("address", ["127.0.0.2", ""])
def test_a_plc_whose_certificate_names_another_address_gets_no_link(
    authority: Authority, bank: Bank, address: str
) -> None:
    server = ModbusServer(bank, HOST, 0, tls=server_context(authority.file, *authority.issue("other", address)))
    context = client_context(authority.file, *authority.issue("device"))
    with served(server):
        assert "IP address mismatch" in why(tcp_link(HOST, server.port, 1, TIMEOUT_NS, tls=context))
    server.close()


@pytest.mark.clause("Annex 11 draft §15", "IEC 62443-4-2 CR 3.1")
def test_plain_and_secured_sides_do_not_meet(plc: ModbusServer, authority: Authority, bank: Bank) -> None:
    assert "PLC 127.0.0.1" in why(tcp_link(HOST, plc.port, 1, TIMEOUT_NS))
    plain = ModbusServer(bank, HOST, 0)
    context = client_context(authority.file, *authority.issue("device"))
    with served(plain):
        assert "(TLS)" in why(tcp_link(HOST, plain.port, 1, TIMEOUT_NS, tls=context))
    plain.close()


def test_a_peer_that_never_shakes_hands_holds_nobody_up(plc: ModbusServer, authority: Authority) -> None:
    context = client_context(authority.file, *authority.issue("device"))
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        assert "no connection within 500 ms" in why(tcp_link(HOST, port, 1, 50_000_000, tls=context))
    with socket.create_connection((HOST, plc.port)):
        assert exchange(tcp_link(HOST, plc.port, 1, TIMEOUT_NS, tls=context)) == [1, 2, 3, 4]


def test_files_that_are_no_certificates_are_refused_by_name(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("device")
    _, other_key = authority.issue("other")
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(DeviceRefused, match=r"authority .*missing cannot be used: No such file"):
        client_context(tmp_path / "missing", certificate, key)
    with pytest.raises(DeviceRefused, match=r"authority .*text cannot be used"):
        client_context(tmp_path / "text", certificate, key)
    with pytest.raises(DeviceRefused, match=r"certificate .*device.pem with key other.key cannot be used: KEY_VALUES"):
        client_context(authority.file, certificate, other_key)
    with pytest.raises(DeviceRefused, match=r"with key text cannot be used"):
        server_context(authority.file, certificate, tmp_path / "text")

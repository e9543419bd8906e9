"""`linewarden enroll` as a technician runs it, against a real authority, a real repository and a real TPM."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from daemon.slots.book import Book
from provisioning import cli, enroll
from signing.enrolled import NotEnrolled, own_identity, read_enrolled
from signing.enrolment_token import claims_of
from signing.errors import KeyRefused
from signing.fetchers import FileFetcher
from signing.floor import FileFloor, Versions
from signing.freshness import open_repository
from signing.identity import open_identity
from signing.update_errors import FloorFailed, RollbackRefused
from tests.contract.enrolment_box import Box, Fleet
from tests.contract.software_tpm import MISSING, needs_tpm, software_tpm

STRIDE = 3
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def url(fleet: Fleet) -> Iterator[str]:
    with fleet.serving() as authority:
        yield authority.url


@pytest.fixture(params=["development", pytest.param("tpm", marks=needs_tpm)])
def box(request: pytest.FixtureRequest, tmp_path: Path, fleet: Fleet) -> Iterator[Box]:
    with ExitStack() as stack:
        tcti = stack.enter_context(software_tpm(tmp_path / "chip")).tcti if request.param == "tpm" else ""
        yield Box(tmp_path / "box", fleet, tcti, device=f"filler-{tmp_path.name}"[:60])


def _name(box: Box) -> str:
    return enroll.device_at(box.folder / "station.toml", box.state).updates.device


def test_a_device_is_enrolled_and_everything_it_needs_lies_there(
    box: Box, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert box.enroll(url, box.fleet.token(_name(box)), "--json") == 0
    shown = capsys.readouterr()
    found = read_enrolled(box.state / "identity")
    assert json.loads(shown.out)["id"] == found.record.id == found.certificate.subject.id
    assert (found.record.reason, found.record.authority) == ("new device", url)
    own_identity(found, production=False).close()
    device = enroll.device_at(box.folder / "station.toml", box.state)
    assert device.ground.floor.read() == box.fleet.repository.versions()
    book = Book(box.state / "store")
    assert [(row.what, row.new, row.why, row.done) for row in book.state.owed] == [
        ("enrolled", found.record.id, "new device", True)
    ]


@pytest.mark.clause("IEC 62443-4-2 CR 1.2")
def test_no_secret_is_on_disk_in_argv_or_in_what_is_said(fleet: Fleet, url: str, tmp_path: Path) -> None:
    """The token through a pipe, as a program of its own; then every file of device and authority is searched."""
    with ExitStack() as stack:
        tcti = "" if MISSING else stack.enter_context(software_tpm(tmp_path / "chip")).tcti
        _search(Box(tmp_path / "box", fleet, tcti, device="searched"), url)


def _search(box: Box, url: str) -> None:
    token = box.fleet.token("searched")
    nonce = claims_of(token).nonce
    words = ["--authority", url, "--token-file", "-", "--reason", "new device", "--yes"]
    command = [sys.executable, "-W", "error", "-m", "provisioning.cli", "enroll", *box.place(), *box.papers(), *words]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        process.stdin.write(token)
        process.stdin.flush()
        argv = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        said, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0, said
    key = _development_key(box)
    secrets = [nonce.encode(), bytes.fromhex(nonce), token.strip(), json.loads(token)["qa"]["payload"].encode(), *key]
    found = [path for path in _files(box) if any(secret in path.read_bytes() for secret in secrets)]
    assert found == []
    assert not any(secret in text for secret in secrets for text in (argv, said))
    kept = [path for path in _files(box) if b"PRIVATE KEY" in path.read_bytes()]
    assert kept == ([box.state / "identity" / "development-key.pem"] if box.kind == "development" else [])


def _files(box: Box) -> list[Path]:
    """Every file of the device, and the authority's but its own key; a development key's file is that key."""
    own = box.fleet.folder / "private"
    files = [path for folder in (box.folder, box.fleet.folder) for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if own not in path.parents]


def _development_key(box: Box) -> list[bytes]:
    """What no other file may hold."""
    path = box.state / "identity" / "development-key.pem"
    if not path.exists():
        return []
    key = path.read_bytes().splitlines()[2]
    holders = [file for file in _files(box) if key in file.read_bytes()]
    assert holders == [path]
    return []


def test_a_power_cut_at_any_point_is_mended_by_the_same_command(
    fleet: Fleet, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The power goes at the n-th fsync or rename: at every third of them, another third each time."""
    number, cut = seed % STRIDE, True
    while cut:
        print("cut at", number)
        box = Box(tmp_path / str(number), fleet, "", device=f"cut-{number}")
        run = box.enrolling(url, fleet.token(f"cut-{number}"))
        with monkeypatch.context() as patch:
            cut = _cut_at(patch, number, run)
        if not (box.state / "identity" / "enrolment.json").exists():
            with pytest.raises(NotEnrolled):
                read_enrolled(box.state / "identity")
            run()
        assert read_enrolled(box.state / "identity").record.device == f"cut-{number}"
        assert FileFloor(box.state / "store" / "floor.json").read() == fleet.repository.versions()
        assert [row.what for row in Book(box.state / "store").state.owed] == ["enrolled"]
        number += STRIDE
    assert number > 20


class PowerCut(BaseException):
    """Nothing of this process happens after it."""


def _cut_at(patch: pytest.MonkeyPatch, number: int, run: Callable[[], object]) -> bool:
    """Run with a power cut before the n-th durable step; return whether there was one."""
    steps = 0

    def cutting(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > number:
                raise PowerCut
            return real(*words, **named)

        return step

    for name in ("fsync", "replace", "rename", "link", "symlink"):
        patch.setattr(os, name, cutting(getattr(os, name)))
    try:
        run()
    except PowerCut:
        return True
    return False


def test_an_enrolled_device_is_enrolled_again_only_when_told(
    box: Box, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = _name(box)
    assert box.enroll(url, box.fleet.token(name)) == 0
    first = read_enrolled(box.state / "identity")
    capsys.readouterr()
    assert box.enroll(url, box.fleet.token(name)) == 1
    assert _one_line(capsys).endswith("--again enrols it anew")
    assert read_enrolled(box.state / "identity") == first
    assert box.enroll(url, box.fleet.token(name), "--again") == 0
    again = read_enrolled(box.state / "identity")
    assert again.record.id == first.record.id
    assert again.certificate.issued != first.certificate.issued


@needs_tpm
def test_a_cleared_tpm_makes_another_device_that_is_enrolled_again(
    fleet: Fleet, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tss, token = pytest.importorskip("tpm2_pytss"), partial(fleet.token, "cleared")
    with software_tpm(tmp_path / "chip") as tpm:
        box = Box(tmp_path / "box", fleet, tpm.tcti, device="cleared")
        floor = enroll.device_at(box.folder / "station.toml", box.state).ground.floor
        assert box.enroll(url, token()) == 0
        first = read_enrolled(box.state / "identity")
        with closing(tss.ESAPI(tpm.tcti)) as esapi:
            esapi.clear(tss.ESYS_TR.LOCKOUT)
        with pytest.raises(KeyRefused, match="no key at handle"):
            own_identity(first, production=False)
        with pytest.raises(FloorFailed):
            floor.read()
        capsys.readouterr()
        assert box.enroll(url, token(), "--again") == 1
        assert "revoke that one before another takes its name" in _one_line(capsys)
        with pytest.raises(KeyRefused, match="not the one that was enrolled"):
            own_identity(first, production=False)
        with fleet.open() as at_the_desk:
            at_the_desk.revoke(first.certificate.subject.id, "TPM cleared", "a.person")
        assert box.enroll(url, token(), "--again") == 0
        own_identity(read_enrolled(box.state / "identity"), production=False).close()
        assert floor.read() == fleet.repository.versions()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who gives files away")
def test_root_enrols_and_the_services_own_what_was_made(fleet: Fleet, url: str, tmp_path: Path) -> None:
    box, (slots, uplink) = Box(tmp_path / "box", fleet, "", device="owned"), (61_001, 61_002)
    store = tmp_path / "slots" / "store"
    store.mkdir(parents=True)
    (box.state / "store").symlink_to(store)
    os.chown(store, slots, slots)
    os.chown(box.state, uplink, uplink)
    assert box.enroll(url, fleet.token("owned")) == 0
    assert {path.lstat().st_uid for path in (store, *store.rglob("*"))} == {slots}
    folder = box.state / "identity"
    assert {path.lstat().st_uid for path in (folder, *folder.iterdir())} == {uplink}
    assert (box.state / "store").lstat().st_uid == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("token of another station", "have a token made for this device"),
        ("no token", "bring the token of two people"),
        ("broken token", "not a token"),
        ("anchor that is none", "not a PEM file"),
        ("root that is none", "refused"),
        ("trust that is none", "junk: "),
        ("no root", "bring the fleet's first root"),
        ("no reason", "no reason was given"),
        ("stick of another fleet", "refused"),
        ("authority that is away", "no answer"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_device_is_not_enrolled(
    wrong: str, said: str, fleet: Fleet, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path / "box", fleet, "", device="wrong")
    token, junk = fleet.token("other" if wrong == "token of another station" else "wrong"), tmp_path / "junk"
    nonce = claims_of(token).nonce
    junk.write_bytes(b"{}")
    if wrong == "broken token":
        token = token[:200]
    more = {
        "no token": ("--token-file", ""),
        "anchor that is none": ("--anchor", str(junk)),
        "root that is none": ("--root", str(junk)),
        "trust that is none": ("--trust", str(junk)),
        "no reason": ("--reason", " "),
        "authority that is away": ("--authority", "https://127.0.0.1:9"),
    }.get(wrong, ())
    if wrong == "no root":
        words = ["--authority", url, "--anchor", str(fleet.anchor), "--reason", "x", "--yes"]
        assert cli.main(["enroll", *box.place(), *words]) == 1
    elif wrong == "stick of another fleet":
        other = Fleet(tmp_path / "other")
        assert box.enroll(url, token, "--repository", str(other.repository.public)) == 1
    else:
        assert box.enroll(url, token, *more) == 1
    line = _one_line(capsys)
    assert said in line
    assert nonce not in line
    with pytest.raises(NotEnrolled):
        read_enrolled(box.state / "identity")


def test_nothing_is_done_where_nobody_can_be_asked(
    fleet: Fleet, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path / "box", fleet, "")
    box.token_file.write_bytes(fleet.token())
    words = ["enroll", *box.place(), *box.papers(), "--authority", url, "--reason", "new device"]
    assert cli.main([*words, "--token-file", str(box.token_file)]) == 1
    said = capsys.readouterr()
    assert "get a certificate for filler-3 on line-3" in said.out
    assert said.err.endswith("nobody is there to confirm it: add --yes\n")
    assert cli.main([*words, "--token-file", "-"]) == 1
    assert "add --yes" in _one_line(capsys)
    assert list(box.state.iterdir()) == []


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("linewarden: ")
    return line


def test_without_a_network_request_and_certificate_go_by_stick(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path / "box", fleet, "", device="far-away")
    request, certificate = tmp_path / "request.pem", tmp_path / "certificate.pem"
    assert cli.main(["enroll", *box.place(), "--request-to", str(request)]) == 0
    with fleet.open() as authority:
        der = x509.load_pem_x509_csr(request.read_bytes()).public_bytes(Encoding.DER)
        issued = authority.enrol(der, fleet.token("far-away"))
    certificate.write_bytes(issued.public_bytes(Encoding.PEM))
    words = ["--certificate", str(certificate), "--reason", "no network", "--yes"]
    assert cli.main(["enroll", *box.place(), *box.papers(), *words]) == 0
    found = read_enrolled(box.state / "identity")
    assert (found.record.authority, found.certificate.issued) == ("", issued)
    other = Box(tmp_path / "other", fleet, "", device="far-away")
    capsys.readouterr()
    assert cli.main(["enroll", *other.place(), *other.papers(), *words]) == 1
    assert "not of this" in _one_line(capsys)


def test_a_new_device_takes_no_older_metadata_than_it_was_enrolled_with(fleet: Fleet, url: str, tmp_path: Path) -> None:
    old = tmp_path / "old stick"
    shutil.copytree(fleet.repository.public, old)
    fleet.republish()
    box = Box(tmp_path / "box", fleet, "", device="stick")
    assert box.enroll(url, fleet.token("stick")) == 0
    device = enroll.device_at(box.folder / "station.toml", box.state)
    assert device.ground.floor.read() == fleet.repository.versions() != Versions(1, 1, 1)
    shutil.rmtree(device.ground.place.metadata)
    with pytest.raises(RollbackRefused):
        open_repository(device.ground.place, FileFetcher(old), device.ground.floor, datetime.now(UTC))


def test_a_production_station_takes_no_development_identity(
    fleet: Fleet, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Box(tmp_path / "box", fleet, "")
    file = box.folder / "station.toml"
    text = file.read_text().replace("production = false", "production = true")
    file.write_text(text.replace('key = "development"', 'key = "tpm"'))
    assert box.enroll(url, fleet.token()) == 1
    assert "development" in _one_line(capsys)
    assert list(box.state.iterdir()) == []
    with pytest.raises(KeyRefused, match="refused in production"):
        open_identity("development", box.state, "", production=True, make=True)

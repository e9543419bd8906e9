"""The unit files as systemd itself reads them, without a running systemd, and the planes they keep apart."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import config
from daemon.store_requests import ANSWERS, REPORTS, REQUESTS, STORE
from daemon.uplink.s3 import ACCESS, SECRET
from signing.device_key import CREDENTIAL

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
INTERPRETER = "/opt/linewarden/.venv/bin/python"
UNITS = sorted(path.name for path in SYSTEMD.iterdir() if path.suffix in (".service", ".target", ".path"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
SLOTS = "linewarden-slots.service"
LASTING = [name for name in SERVICES if name != SLOTS]
FAMILIES = {
    "linewarden-line.service": {"AF_UNIX", "AF_INET"},
    "linewarden-camera@.service": {"AF_UNIX", "AF_INET", "AF_NETLINK"},
    "linewarden-vision.service": {"AF_UNIX"},
    "linewarden-recorder.service": {"AF_UNIX"},
    SLOTS: {"AF_UNIX"},
    "linewarden-uplink.service": {"AF_UNIX", "AF_INET", "AF_INET6"},
}

DROP_INS = sorted(path.name for path in SYSTEMD.glob("*-*.conf"))

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze: apt-get install systemd")


def _values(name: str, key: str) -> list[str]:
    lines = (SYSTEMD / name).read_text(encoding="utf-8").splitlines()
    return [line.split("=", 1)[1] for line in lines if line.startswith(f"{key}=")]


def _run(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, input=text, check=False, timeout=60)


@needs_analyze
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    for path in SYSTEMD.iterdir():
        text = path.read_text(encoding="utf-8").replace(INTERPRETER, sys.executable)
        (tmp_path / path.name.replace("@.", "@body.")).write_text(text)
    unit = tmp_path / name.replace("@.", "@body.")
    found = _run(str(ANALYZE), "verify", "--recursive-errors=no", "--man=no", str(unit))
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.clause("Annex 11 draft §15")
@needs_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_well_sandboxed(name: str) -> None:
    limit = "20"
    found = _run(str(ANALYZE), "security", "--offline=true", f"--threshold={limit}", str(SYSTEMD / name))
    if "Unknown" in found.stderr or "unrecognized" in found.stderr:
        pytest.skip("needs systemd 250 or later for security --offline")
    assert found.returncode == 0, found.stdout[-200:]


@pytest.mark.clause("Annex 11 draft §15")
@pytest.mark.parametrize("name", SERVICES)
def test_each_plane_has_its_own_way_out_and_no_other(name: str) -> None:
    (families,) = _values(name, "RestrictAddressFamilies")
    assert set(families.split()) == FAMILIES[name]
    assert ("PrivateNetwork=yes" in (SYSTEMD / name).read_text(encoding="utf-8")) is (FAMILIES[name] == {"AF_UNIX"})


@pytest.mark.parametrize("name", LASTING)
def test_every_service_lives_by_the_house_rules(name: str) -> None:
    expected = {
        "Type": "notify",
        "Restart": "always",
        "RestartSec": "100ms",
        "RestartPreventExitStatus": "78",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "RuntimeDirectory": "linewarden",
        "RuntimeDirectoryPreserve": "yes",
        "StartLimitIntervalSec": "0",
        "User": "linewarden",
    }
    assert {key: _values(name, key) for key in expected} == {key: [value] for key, value in expected.items()}
    (command,) = _values(name, "ExecStart")
    assert command.startswith(f"{INTERPRETER} -I -X faulthandler -m daemon ")


def test_slots_runs_when_it_is_asked_as_a_user_of_its_own_and_ends() -> None:
    expected = {"Type": "oneshot", "User": "linewarden-slots", "Group": "linewarden", "PrivateDevices": "yes"}
    expected |= {"ProtectSystem": "strict", "ReadWritePaths": "/var/lib/linewarden-slots", "Restart": "on-failure"}
    assert {key: _values(SLOTS, key) for key in expected} == {key: [value] for key, value in expected.items()}
    (command,) = _values(SLOTS, "ExecStart")
    assert command == f"{INTERPRETER} -I -X faulthandler -m daemon slots /etc/linewarden/station.toml"
    watched = _values("linewarden-slots.path", "PathExistsGlob")
    assert watched == [f"/var/lib/linewarden-slots/{name}/*.json" for name in (REQUESTS, REPORTS)]


def test_every_folder_of_slots_is_made_and_found_beside_the_state_of_the_others() -> None:
    lines = [line.split() for line in (SYSTEMD / "tmpfiles.conf").read_text().splitlines() if line[:1] in ("d", "L")]
    made = {line[1]: (line[2], line[3]) for line in lines if line[0] == "d"}
    links = {line[1]: line[6] for line in lines if line[0] == "L"}
    names = (STORE, ANSWERS, REQUESTS, REPORTS)
    assert links == {f"/var/lib/linewarden/{name}": f"/var/lib/linewarden-slots/{name}" for name in names}
    modes = dict(zip(names, ("0750", "0750", "3770", "3770"), strict=True))
    slots = {path: how for path, how in made.items() if path.startswith("/var/lib/linewarden-slots/")}
    assert slots == {f"/var/lib/linewarden-slots/{name}": (mode, "linewarden-slots") for name, mode in modes.items()}


@needs_analyze
@pytest.mark.parametrize("name", DROP_INS)
def test_a_service_with_a_drop_in_is_understood_and_as_well_sandboxed(name: str, tmp_path: Path) -> None:
    for path in SYSTEMD.glob("linewarden[-.]*"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8").replace(INTERPRETER, sys.executable))
    unit = tmp_path / f"linewarden-{name.partition('-')[0]}.service"
    folder = tmp_path / f"{unit.name}.d"
    folder.mkdir()
    (folder / name).write_text((SYSTEMD / name).read_text(encoding="utf-8"))
    found = _run(str(ANALYZE), "verify", "--recursive-errors=no", "--man=no", str(unit))
    assert (found.returncode, found.stderr) == (0, "")
    found = _run(str(ANALYZE), "security", "--offline=true", "--threshold=20", str(unit))
    if "Unknown" in found.stderr or "unrecognized" in found.stderr:
        pytest.skip("needs systemd 250 or later for security --offline")
    assert found.returncode == 0, found.stdout[-200:]


def test_a_serial_line_opens_one_device_and_no_network() -> None:
    assert _values("line-serial.conf", "DevicePolicy") == ["closed"]
    assert len(_values("line-serial.conf", "DeviceAllow")) == 1
    assert _values("line-serial.conf", "RestrictAddressFamilies") == ["", "AF_UNIX"]


def test_digital_lines_open_one_chip_and_no_network() -> None:
    assert _values("line-gpio.conf", "DevicePolicy") == ["closed"]
    assert _values("line-gpio.conf", "DeviceAllow") == ["/dev/gpiochip0 rw"]
    assert _values("line-gpio.conf", "RestrictAddressFamilies") == ["", "AF_UNIX"]


def test_the_tpm_opens_one_device_and_no_other_network() -> None:
    for name in ("recorder-tpm.conf", "slots-tpm.conf", "uplink-tpm.conf"):
        assert _values(name, "DevicePolicy") == ["closed"]
        assert _values(name, "DeviceAllow") == [f"{config.Recorder().tpm.removeprefix('device:')} rw"]
        assert _values(name, "RestrictAddressFamilies") == []


def test_the_credential_is_the_one_that_the_recorder_reads() -> None:
    (credential,) = _values("recorder-credential.conf", "LoadCredentialEncrypted")
    assert credential.split(":")[0] == CREDENTIAL


@pytest.mark.clause("Annex 11 draft §15")
def test_an_archive_in_a_folder_needs_no_network_and_one_in_a_store_needs_two_credentials() -> None:
    assert _values("uplink-directory.conf", "RestrictAddressFamilies") == ["", "AF_UNIX"]
    assert _values("uplink-directory.conf", "PrivateNetwork") == ["yes"]
    names = [value.partition(":")[0] for value in _values("uplink-s3.conf", "LoadCredential")]
    assert names == [ACCESS, SECRET]


def test_only_line_is_real_time_and_only_line_and_camera_have_no_state() -> None:
    assert [name for name in SERVICES if _values(name, "CPUSchedulingPolicy")] == ["linewarden-line.service"]
    stateless = [name for name in LASTING if not _values(name, "StateDirectory")]
    assert stateless == ["linewarden-camera@.service", "linewarden-line.service"]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd-sysusers: apt-get install systemd")
def test_users_and_folders_can_be_made(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\n")
    users = _run("systemd-sysusers", f"--root={tmp_path}", "-", text=(SYSTEMD / "sysusers.conf").read_text())
    assert users.returncode == 0, users.stderr
    assert re.search(r"^linewarden:", (etc / "passwd").read_text(), re.MULTILINE)
    (group,) = re.findall(r"^linewarden:x:(\d+):", (etc / "group").read_text(), re.MULTILINE)
    assert re.search(rf"^linewarden-slots:x:\d+:{group}:", (etc / "passwd").read_text(), re.MULTILINE)

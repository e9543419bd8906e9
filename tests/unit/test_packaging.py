"""What is installed: the five packages and nothing else, each name with one owner (guard rails of DESIGN section 6)."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOPS = {"daemon", "drivers", "engines", "provisioning", "signing"}
BANNED = {"python-daemon", "daemon"}
PUBLISHERS = "fleet"
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "docs", "systemd", PUBLISHERS, *sorted(TOPS))


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _listed() -> set[str]:
    lines = _setup()["options"]["packages"].split("\n")
    return {line.strip() for line in lines if line.strip()}


def _modules(files: set[str]) -> set[str]:
    """Return what can be imported; the verifier under share/ is read by people and run by its path."""
    return {name for name in files if name.endswith(".py") and "/share/linewarden/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """File names in a wheel built from a copy of this checkout, without the network."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=ignore)
        else:
            shutil.copy(path, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    subprocess.run(command, cwd=source, check=True, stdin=subprocess.DEVNULL)
    (built,) = (source / "out").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_list_in_setup_cfg_is_the_tree() -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in TOPS for path in (ROOT / top).rglob("__init__.py")
    }
    assert _listed() == found


def test_the_wheel_holds_the_five_packages_and_every_module_of_the_tree(wheel: set[str]) -> None:
    tree = {
        str(path.relative_to(ROOT)) for top in TOPS for path in (ROOT / top).rglob("*.py") if "build" not in path.parts
    }
    packaged = {f"{package.replace('.', '/')}/" for package in _listed()}
    expected = {name for name in tree if f"{name.rpartition('/')[0]}/" in packaged}
    assert _modules(wheel) == expected
    assert {name.split("/")[0] for name in wheel if ".d" not in name.split("/")[0]} == TOPS


@pytest.mark.clause("IEC 62443-4-2 CR 3.4")
def test_what_signs_is_not_in_the_device_wheel(wheel: set[str]) -> None:
    """Its source lies beside the others when the wheel is built, and stays out."""
    assert (ROOT / PUBLISHERS / "signatures.py").exists()
    assert [name for name in wheel if PUBLISHERS in name.split("/") or "pkcs11" in name.lower()] == []


def test_the_wheel_carries_interfaces_and_unit_files(wheel: set[str]) -> None:
    shared = {name.rpartition("/")[2] for name in wheel if "/share/linewarden/" in name}
    expected = {
        path.name for folder in ("docs/interfaces", "systemd") for path in (ROOT / folder).iterdir() if path.is_file()
    }
    assert expected <= shared


def test_the_wheel_carries_the_operator_texts_of_every_language(wheel: set[str]) -> None:
    assert {f"daemon/texts/{path.name}" for path in (ROOT / "daemon" / "texts").iterdir()} <= wheel


def test_each_package_name_has_one_owner() -> None:
    owners = packages_distributions()
    assert {top: set(owners.get(top, ["linewarden"])) for top in TOPS} == {top: {"linewarden"} for top in TOPS}


def test_packages_that_would_overwrite_ours_are_no_dependency() -> None:
    setup = _setup()
    text = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    names = {match[1].lower() for line in text.splitlines() if (match := re.match(r"\s*([A-Za-z0-9_-]+)", line))}
    assert not names & BANNED


def test_every_dependency_is_argued() -> None:
    lines = (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()
    start = lines.index("install_requires =")
    block = lines[start + 1 : lines.index("", start)]
    assert block
    for above, line in zip(["", *block], block, strict=False):
        assert line.strip().startswith("#") or above.strip().startswith("#"), f"no reason above {line.strip()}"


def test_systemd_is_data_only() -> None:
    assert [path.name for path in (ROOT / "systemd").iterdir() if path.suffix == ".py" or path.is_dir()] == []

"""Which documents go with the records: those that a batch pins, and the files and signatures that belong to them."""

import hashlib
import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from ledger_rows import NOW, OPENING
from test_sublots import LOT, told

from daemon import config
from daemon.config import ConfigError
from daemon.documents import documents_of
from daemon.ledger_file import LEDGER
from daemon.recorder.ledger import Ledger
from drivers.registers import load_map
from provisioning import places
from provisioning.simstation import Layout, demo_documents, station_text


@pytest.fixture
def station(tmp_path):
    documents = demo_documents()
    for name in ("bundle", "recipe", "trust"):
        shutil.copytree(getattr(documents, name), tmp_path / name)
    path = tmp_path / "station.toml"
    path.write_text(station_text(1502, tmp_path, 600.0, Layout()), encoding="utf-8")
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.clause("21 CFR 211.188", "ALCOA+ original")
def test_everything_a_batch_pins_is_there_by_its_digest(station):
    found = documents_of(station)
    recipe, bundle = station.parent / "recipe" / "recipe.json", station.parent / "bundle" / "bundle.json"
    assert {config.digest(station), load_map().digest, sha256(recipe), sha256(bundle)} <= set(found)
    assert all(hashlib.sha256(data).hexdigest() == digest for digest, data in found.items())


def test_models_and_signatures_go_with_them(station):
    found = documents_of(station)
    models = {sha256(path) for path in (station.parent / "bundle").glob("*.onnx")}
    signatures = {sha256(path) for path in station.parent.rglob("signatures/*")}
    assert models and len(signatures) == 8 and models | signatures <= set(found)


@pytest.mark.clause("21 CFR 211.188", "ALCOA+ original")
def test_what_a_swap_brought_goes_with_them_while_the_store_has_it(station, tmp_path):
    other, state = demo_documents(), tmp_path / "state"
    state.mkdir()
    bundle, recipe = sha256(other.other_bundle / "bundle.json"), sha256(other.other_recipe / "recipe.json")
    assert not {bundle, recipe} & set(documents_of(station, state))
    with closing(Ledger(state / LEDGER)) as ledger:
        ledger.open_batch(OPENING, NOW)
        lot = msgspec.structs.replace(LOT, bundle=bundle, recipe=recipe)
        ledger.begin_sublot(lot, NOW, told(lot))
    assert not {bundle, recipe} & set(documents_of(station, state))
    for kind, digest, folder in (("bundles", bundle, other.other_bundle), ("recipes", recipe, other.other_recipe)):
        (state / "store" / kind).mkdir(parents=True)
        (state / "store" / kind / digest).symlink_to(folder)
    found = documents_of(station, state)
    models = {sha256(path) for path in other.other_bundle.glob("*.onnx")}
    assert {bundle, recipe, *models} <= set(found) and set(documents_of(station)) <= set(found)


@pytest.mark.parametrize("missing", ["recipe/recipe.json", "bundle/bundle.json", "bundle/body.onnx"])
def test_a_document_that_is_missing_is_named(station, missing):
    (station.parent / missing).unlink()
    with pytest.raises(ConfigError, match=f"{missing}: cannot be read"):
        documents_of(station)


def test_a_bundle_that_is_none_is_named(station):
    (station.parent / "bundle" / "bundle.json").write_text("{}")
    with pytest.raises(ConfigError, match="its bundle: "):
        documents_of(station)


def ledger(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / places.LEDGER).touch()
    return folder


def test_the_state_folder_is_the_named_one_or_the_newest_run(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "CHECKOUT", tmp_path)
    monkeypatch.setattr(places, "INSTALLED_RUNTIME", tmp_path / "none")
    monkeypatch.setattr(places, "INSTALLED_STATE", tmp_path / "installed")
    with pytest.raises(places.PlaceError, match="no simulation was run here and nothing is installed"):
        places.find_state(None)
    installed = ledger(tmp_path / "installed")
    assert places.find_state(None) == installed
    runs = {number: ledger(tmp_path / "var" / "sim" / str(number) / "state") for number in (9, 10)}
    (tmp_path / "var" / "sim" / "11").mkdir()
    assert places.find_state(None) == runs[10]
    assert places.find_state(runs[9].parent) == places.find_state(runs[9]) == runs[9]
    with pytest.raises(places.PlaceError, match=f"no ledger under {tmp_path}"):
        places.find_state(tmp_path)


def test_the_running_simulation_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "CHECKOUT", tmp_path)
    ledger(tmp_path / "var" / "sim" / "10" / "state")
    kept = ledger(tmp_path / "kept" / "state")
    (tmp_path / "kept" / "station.toml").touch()
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "station.toml").symlink_to(tmp_path / "kept" / "station.toml")
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "var" / "run" / "current").symlink_to(tmp_path / "runtime")
    assert places.find_state(None) == kept
    assert places.station_of(kept) == tmp_path / "kept" / "station.toml"

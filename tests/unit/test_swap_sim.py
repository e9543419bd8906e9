"""`--swap-bundle DIR@UNIT`: what it may say, and that the order it signs is one that the recorder takes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.acts import unfit
from fleet.signatures import Words, sign_swap_order
from provisioning import batchacts, cli, simswap
from provisioning.errors import CommandFailed
from provisioning.lineacts import ActRefused
from provisioning.places import PlaceError
from signing.key_file import private_pem
from signing.keyring import load_trust
from signing.order import read_swap_order
from signing.trust import Role
from tests.vectors import bundle_1


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo")
    bundle = bundle_1.make_bundle(folder / "bundle-other")
    bundle_1.make_recipe(folder / "recipe-other", bundle)
    (folder / "both").mkdir()
    for name in ("bundle", "recipe"):
        shutil.copytree(folder / f"{name}-other", folder / "both" / name)
    yield folder


def test_a_bundle_with_its_recipe_beside_it_or_a_folder_with_both(demo: Path) -> None:
    beside = simswap.planned(f"{demo}/bundle-other@30", 60)
    assert (beside.bundle, beside.recipe, beside.unit) == (demo / "bundle-other", demo / "recipe-other", 30)
    both = simswap.planned(f"{demo}/both@1", 60)
    assert (both.bundle, both.recipe) == (demo / "both" / "bundle", demo / "both" / "recipe")
    assert simswap.digests(beside) == simswap.digests(both)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@5",
        "bundle-other",
        "bundle-other@",
        "bundle-other@0",
        "bundle-other@60",
        "bundle-other@x",
        "recipe-other@5",
    ],
)
def test_anything_else_is_one_line(demo: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = f"{demo}/{text}" if text.strip("@5") else text
    with pytest.raises(CommandFailed):
        simswap.planned(named, 60)
    assert cli.main(["sim", "--units", "60", "--swap-bundle", named or "@"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_signed_order_in_a_file_becomes_the_act_that_carries_it(tmp_path: Path) -> None:
    pair, path = ("d" * 64, "f" * 64), tmp_path / "order.json"
    words = Words("Anna Berg", "swap order", "the first one misses fibres")
    raw = sign_swap_order("B-1", pair, bundle_1.NumberSigner(bundle_1.KEYS[Role.QA]), words, bundle_1.NOW)
    path.write_bytes(raw + b"\n")
    act = batchacts.swap_of(path, "QA said so")
    assert (act.kind, act.new, act.signature, act.reason) == ("swap", " ".join(pair), raw.decode(), "QA said so")
    assert unfit(act) == ""


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b'{"payload":"!"}', b'{"payload":"e30="}', b"[1]"])
def test_a_file_that_is_no_order_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "order.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ActRefused) as refused:
        batchacts.swap_of(path, "QA said so")
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.clause("21 CFR 11.50", "21 CFR 11.70")
def test_the_order_is_qa_s_and_names_batch_and_digests(demo: Path, tmp_path: Path) -> None:
    swap, trust = simswap.planned(f"{demo}/bundle-other@5", 60), tmp_path / "trust"
    bundle_1.make_trust(trust, bundle_1.KEYS)
    (trust / "private").mkdir()
    pair = simswap.digests(swap)
    with pytest.raises(PlaceError, match="no development key of QA"):
        simswap.ordered("B-1", pair, trust, "a.person")
    (trust / simswap.KEY).write_bytes(private_pem(bundle_1.KEYS[Role.QA]))
    act = simswap.ordered("B-1", pair, trust, "a.person")
    assert (act.kind, act.new) == ("swap", " ".join(pair))
    order = read_swap_order(act.signature.encode(), load_trust(trust, production=False))
    assert (order.batch, order.bundle, order.recipe, order.printed_name) == ("B-1", *pair, "Anna Berg")
    (trust / simswap.KEY).write_bytes(private_pem(bundle_1.STRANGER))
    with pytest.raises(PlaceError, match="nobody's key"):
        simswap.ordered("B-1", pair, trust, "a.person")


def test_the_staged_pair_lies_where_the_store_has_it(demo: Path, tmp_path: Path) -> None:
    swap = simswap.planned(f"{demo}/bundle-other@5", 60)
    simswap.stage(swap, demo, tmp_path)
    generation = (tmp_path / "store" / "staged").resolve()
    assert generation == tmp_path / "store" / "generations" / "2"
    assert {path.name: path.resolve() for path in generation.iterdir()} == {
        "bundle": swap.bundle,
        "recipe": swap.recipe,
        "trust": demo,
    }
    bundle, recipe = simswap.digests(swap)
    assert (tmp_path / "store" / "bundles" / bundle).resolve() == swap.bundle
    assert (tmp_path / "store" / "recipes" / recipe).resolve() == swap.recipe

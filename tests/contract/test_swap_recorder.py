"""A swap inside a batch as the recorder answers it: a signed order for exactly this, or one line and no change."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from recorder_box import (
    LOADED,
    Line,
    RecorderProcess,
    Talker,
    act,
    open_batch,
    permit,
    report_of,
    talking,
    totals,
    unit,
    until,
)

from daemon import revocations
from daemon.messages import Act, AlarmRow, Answer, Arm, Loaded, Staged
from daemon.records import AuditRow
from daemon.revocations import Revoked
from signing.store import REVOKED, found_store
from signing.trust import Role, key_id_of
from tests.contract.swap_orders import OTHER, QA, RELEASE, order, swap
from tests.vectors import bundle_1


@pytest.fixture
def box(tmp_path: Path) -> Iterator[RecorderProcess]:
    bundle_1.make_trust(tmp_path / "trust", bundle_1.KEYS)
    process = RecorderProcess(tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def vision(box: RecorderProcess) -> Iterator[Talker]:
    with closing(open_batch(box)) as talker:
        talker.await_one(Arm)
        warm(talker, OTHER)
        yield talker


@pytest.fixture
def line(box: RecorderProcess, vision: Talker) -> Iterator[Line]:
    with closing(Line(box.socket)) as talker:
        yield talker


@dataclass(frozen=True)
class Standing:
    """One recorder with an open batch, in which every swap is refused."""

    box: RecorderProcess
    vision: Talker
    line: Line


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder = tmp_path_factory.mktemp("standing")
    bundle_1.make_trust(folder / "trust", bundle_1.KEYS)
    process = RecorderProcess(folder)
    process.start()
    try:
        with closing(open_batch(process)) as vision, closing(Line(process.socket)) as line:
            warm(vision, OTHER)
            yield Standing(process, vision, line)
    finally:
        process.stop()


def warm(vision: Talker, *others: Loaded) -> None:
    """Vision says what it has loaded besides."""
    vision.peer.send(Staged(list(others)))
    vision.peer.send(LOADED)


def ask(box: RecorderProcess, asked: Act) -> Answer:
    with talking(box.socket, "cli") as cli:
        answer = cli.ask(asked)
    assert isinstance(answer, Answer) and "\n" not in answer.text
    return answer


def revoke(box: RecorderProcess, *entries: Revoked) -> None:
    folder = box.ledger.parent
    found_store(folder / "store", (folder / "trust" / "trust.json").read_bytes())
    (folder / "store" / REVOKED).write_bytes(revocations.encode(entries))


@pytest.mark.clause("21 CFR 211.188", "21 CFR 11.50", "21 CFR 11.70", "Annex 11 §10")
def test_a_signed_swap_splits_the_batch_and_the_way_back_is_another(
    box: RecorderProcess, vision: Talker, line: Line
) -> None:
    old = line.arm
    for number in (1, 2):
        line.send(permit(number, old))
        line.send(unit(number, old))
    line.settle()
    answer = ask(box, swap())
    assert answer == Answer(True, "sub-lot 2 of batch B-1 begins, signed Anna Berg")
    new = line.await_one(Arm)
    assert (new.batch, new.bundle, new.recipe) == ("B-1", OTHER.bundle, OTHER.recipe)
    assert vision.await_one(Arm) == new and new.configuration != old.configuration
    for number, arm in ((3, old), (4, new)):
        line.send(permit(number, arm))
        line.send(unit(number, arm))
    line.settle()
    box.kill()
    box.start()
    line.close()
    again = Line(box.socket, session=2)
    with closing(again), closing(Talker(box.socket, "vision", session=2)) as looking:
        assert (again.arm, looking.await_one(Arm)) == (new, new)
        warm(looking, OTHER)
        back = swap(LOADED, order(LOADED, minutes=1))
        until(lambda: ask(box, back).ok, "the way back is refused")
        assert again.await_one(Arm) == old
        again.send(permit(5, old))
        again.send(unit(5, old))
        again.send(totals(5, 5))
        again.settle()
        with talking(box.socket, "cli") as cli:
            assert cli.ask(act("batch-close", "B-1")) == Answer(True, "batch B-1 is closed")
    lots = report_of(box)["sublots"]
    assert [(lot["number"], lot["units"]["accepted"], lot["signed_by"]) for lot in lots] == [
        (1, 3, None),
        (2, 1, "Anna Berg"),
        (3, 1, "Anna Berg"),
    ]
    acts = box.look("SELECT what, done, new, signature FROM audit WHERE what = 'swap' AND done ORDER BY entry")
    assert [row[:2] for row in acts] == [("swap", 1)] * 2
    assert acts[0][2] == f"sub-lot 2: bundle {OTHER.bundle} recipe {OTHER.recipe}"
    assert acts[0][3] == order()
    assert box.stop()[0] == 0


ODD = msgspec.structs.replace


@pytest.mark.clause("21 CFR 11.10(g)", "21 CFR 11.200", "Annex 11 §14")
@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (act("swap", "one two"), "64 hexadecimal digits each"),
        (swap(signature=""), "swap order"),
        (swap(signature="{}"), "swap order"),
        (swap(signature=order(key=RELEASE, name="Jonas Weber")), "does not have role 'qa'"),
        (swap(signature=order(key=bundle_1.STRANGER)), "nobody's in the trust store"),
        (swap(signature=order(name="Somebody Else")), "sign under the trust store's name"),
        (swap(signature=order(batch="B-2")), "the order is for batch B-2, B-1 is open"),
        (swap(signature=order(LOADED)), "have the right one signed"),
        (swap(LOADED), "judge already"),
        (swap(ODD(OTHER, bundle="0" * 64)), "stage it first"),
        (swap(ODD(OTHER, recipe=LOADED.recipe)), "stage it first"),
        (swap(reason=""), "an actor and a reason"),
    ],
)
def test_anything_but_the_right_order_changes_nothing(standing: Standing, asked: Act, complaint: str) -> None:
    box = standing.box
    answer = ask(box, asked)
    assert not answer.ok and complaint in answer.text, answer.text
    assert box.look("SELECT count(*) FROM sublot") == [(0,)]
    assert box.look("SELECT done, answer FROM audit ORDER BY entry DESC LIMIT 1") == [(0, answer.text)]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("product", "Another", "product"),
        ("container", "10R vial", "container"),
        ("max_latency_ms", 119.0, "latency limit"),
        ("min_gap_mm", 19.0, "least spacing"),
        ("window_ms", 11.0, "binding window"),
        ("sampling_every", 5, "sampling"),
        ("views", [], "views"),
    ],
)
def test_a_recipe_that_asks_something_else_of_the_line_is_for_another_batch(
    standing: Standing, name: str, value: Any, words: str
) -> None:
    warm(standing.vision, ODD(OTHER, **{name: value}))
    until(lambda: words in ask(standing.box, swap()).text, f"no word of the {words}")
    assert standing.box.look("SELECT count(*) FROM sublot") == [(0,)]
    warm(standing.vision, OTHER)


@pytest.mark.clause("21 CFR 11.200", "IEC 62443-4-2 CR 3.1")
def test_an_order_is_good_once(box: RecorderProcess, vision: Talker, line: Line) -> None:
    assert ask(box, swap()).ok
    assert ask(box, swap(LOADED, order(LOADED, minutes=1))).ok
    answer = ask(box, swap())
    assert not answer.ok and "was carried out in this batch already" in answer.text
    assert ask(box, swap(signature=order(minutes=2))).ok


def test_without_a_batch_a_line_or_vision_there_is_nothing_to_swap(box: RecorderProcess) -> None:
    assert "no batch is open" in ask(box, swap()).text
    with closing(open_batch(box)):
        assert "line is not connected" in ask(box, swap()).text
    with closing(Line(box.socket)):
        until(lambda: "stage it first" in ask(box, swap()).text, "the swap is not refused without vision")


@pytest.mark.clause("IEC 62443-4-2 CR 3.4", "21 CFR 11.10(d)")
@pytest.mark.parametrize(
    ("what", "digest"),
    [("bundle", OTHER.bundle), ("recipe", OTHER.recipe), ("key", "k" * 64), ("key", key_id_of(QA.public_key()))],
)
def test_what_is_revoked_takes_over_nowhere(standing: Standing, what: Any, digest: str) -> None:
    revoke(standing.box, Revoked(what, digest, "misses fibres", "QA", "2026-11-23T00:00:00Z"))
    answer = ask(standing.box, swap())
    revoke(standing.box)
    assert not answer.ok and "misses fibres" in answer.text and digest[:12] in answer.text


@pytest.mark.clause("IEC 62443-4-2 CR 3.4", "21 CFR 11.10(d)")
def test_no_batch_opens_with_what_is_revoked_and_a_running_one_only_rings(
    box: RecorderProcess, vision: Talker, line: Line
) -> None:
    revoke(box, Revoked("bundle", LOADED.bundle, "misses fibres", "QA", "2026-11-23T00:00:00Z"))
    told = line.await_one(Arm)
    assert ODD(told, revoked="") == line.arm and "misses fibres" in told.revoked
    assert vision.await_one(Arm) == told
    line.send(totals(0, 0))
    line.settle()
    with talking(box.socket, "cli") as cli:
        assert cli.ask(act("batch-close", "B-1")).ok
        answer = cli.ask(act("batch-open", "B-2"))
    assert not answer.ok and f"bundle {LOADED.bundle[:12]} is revoked: misses fibres" in answer.text


@pytest.mark.clause("21 CFR 11.10(g)")
def test_who_is_of_qa_is_said_by_the_newest_trust(box: RecorderProcess, vision: Talker, line: Line) -> None:
    """The trust beside the active generation may be older: who left QA orders nothing, who came may."""
    came = ec.generate_private_key(ec.SECP256R1())
    folder = box.ledger.parent
    bundle_1.make_trust(folder / "newest", {Role.QA: came, Role.RELEASE: RELEASE})
    found_store(folder / "store", (folder / "newest" / "trust.json").read_bytes())
    refused = ask(box, swap())
    assert not refused.ok and "trust store" in refused.text
    assert ask(box, swap(OTHER, order(key=came))).ok


@pytest.mark.clause("21 CFR 11.10(e)")
def test_slots_puts_its_acts_on_record_and_nothing_else(box: RecorderProcess) -> None:
    row = AuditRow(1, 1, "install", "a.person", "operator", "QA said so", "", "generation 3", True, "installed")
    with closing(Talker(box.socket, "slots", session=3_000_000)) as slots:
        slots.peer.send(row)
        assert slots.next().seq == 1
        slots.peer.send(AlarmRow(2, 1, "STATE", "EXECUTE", "EXECUTE", None))
    until(lambda: "PEER_DROPPED" in str(box.look("SELECT code FROM alarm")), "slots may send what it likes")
    assert box.look("SELECT origin, what, new FROM audit WHERE origin = 'slots'") == [
        ("slots", "install", "generation 3")
    ]
    assert json.dumps(box.look("SELECT count(*) FROM alarm WHERE code = 'STATE'")) == "[[0]]"

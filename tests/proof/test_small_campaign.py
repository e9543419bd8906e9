"""The campaign in small: every fault once and pairs by chance, over 3,000 units; and leaving scans out is no loss."""

import io

import pytest
from campaign_main import CHUNK, Tally, names_of, result_of, table
from proof_agenda import START_NS, Agenda
from proof_case import draw, play
from proof_faults import FAULTS
from proof_plant import Plant
from proof_world import MAP, Spec, World
from rich.console import Console

SEED = 20261122
CASES = 28


@pytest.fixture(scope="module")
def campaign() -> Tally:
    tally = Tally(SEED)
    for case in range(CASES):
        tally.add(case, result_of(SEED, case))
    return tally


def test_nothing_passes_unpermitted_under_any_fault(campaign: Tally) -> None:
    assert campaign.wrong == [], f"again: make campaign ARGS='--seed {SEED} --case N'"
    assert (campaign.escapes, campaign.misbound) == (0, 0)
    assert campaign.units >= 3000


def test_good_vials_pass_in_spite_of_all_that(campaign: Tally) -> None:
    """A line that rejects everything would hold every promise of the campaign."""
    assert campaign.passed > 0.4 * campaign.vials


def test_every_fault_has_its_turn_alone_before_any_comes_again() -> None:
    turns = [name for case in range(len(FAULTS)) for name in names_of(case)]
    assert set(turns[: len(FAULTS) + 2]) == set(FAULTS)


def test_the_table_names_every_fault(campaign: Tally) -> None:
    text = io.StringIO()
    Console(width=140, file=text).print(table(campaign))
    assert all(name in text.getvalue() for name in FAULTS)
    assert CHUNK > 0


def test_without_a_fault_every_good_vial_passes() -> None:
    world, out = play(draw(3, ("verdict-twice",)))
    bad = sum(world.is_bad(vial.ordinal) for vial in world.plant.belt.vials)
    close = sum(row.reason == "too_close" for row in world.recorder.units.values())
    assert out.wrong == []
    assert out.passed >= out.vials - bad - close - 2


def test_a_scan_that_was_left_out_would_have_changed_nothing() -> None:
    """The same belt and the same writes, once with scans on demand and once with every scan of the 2 ms grid."""
    writes: list[tuple[int, int, list[int]]] = []
    sparse = World(Spec(11, 30, 1200, gap_jitter=0.3))
    write = sparse.plant.write

    def noted(address: int, words: list[int]) -> None:
        writes.append((sparse.agenda.now, address, words))
        write(address, words)

    sparse.plant.write = noted  # type: ignore[method-assign]
    told: list[tuple[object, ...]] = []
    tell = sparse.plant.told
    sparse.plant.told = lambda event: (told.append((sparse.agenda.now, event)), tell(event))[1]
    sparse.play()
    dense = World(Spec(11, 30, 1200, gap_jitter=0.3, dense=True))
    again: list[tuple[object, ...]] = []
    agenda, plant = _alone(dense)
    plant.told = lambda event: again.append((agenda.now, event))
    for at_ns, address, words in writes:
        agenda.at(at_ns, lambda address=address, words=words: plant.write(address, words))
    agenda.run(sparse.agenda.now, lambda: False)
    assert plant.scans > 2 * sparse.plant.scans
    assert again == told
    assert [vial.end for vial in plant.belt.vials] == [vial.end for vial in sparse.plant.belt.vials]


def _alone(world: World) -> tuple[Agenda, Plant]:
    """The plant of a world without its line."""
    agenda, belt = Agenda(), world.plant.belt
    assert agenda.now == START_NS
    return agenda, Plant(agenda, belt, world.plant._spec, MAP, dense=True)

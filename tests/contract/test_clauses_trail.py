"""What a real recorder refuses is on record too; and how its trail tells one end from another."""

import pytest
from recorder_box import RecorderProcess, act, talking

from daemon.recorder import events


@pytest.fixture
def box(tmp_path):
    box = RecorderProcess(tmp_path)
    yield box
    box.stop()


def life(box):
    """Start the recorder and wait until it answers."""
    box.start()
    with talking(box.socket, "cli") as cli:
        return cli.ask(act("batch-close", "", reason="to see that it answers"))


@pytest.mark.clause("Annex 11 draft §12.1", "Annex 11 draft §12.2", "21 CFR 11.10(e)", "IEC 62443-4-2 CR 2.8")
def test_an_act_that_the_recorder_refuses_is_on_record_with_its_refusal(box):
    answer = life(box)
    (told,) = box.look("SELECT what, who, role, why, done, answer FROM audit WHERE what = 'batch-close'")
    assert not answer.ok
    assert told == ("batch-close", "a.person", "operator", "to see that it answers", 0, answer.text)


@pytest.mark.clause("Annex 11 §13", "IEC 62443-4-2 CR 2.8")
@pytest.mark.parametrize(
    ("last", "said"),
    [
        (("", ""), "no trail before"),
        (("trail-close", "this"), "closed"),
        (("trail-close", "another"), "closed"),
        (("trail-open", "this"), "not closed: the recorder was killed"),
        (("trail-open", "another"), "not closed: power loss or reset"),
    ],
)
def test_a_killed_process_and_a_lost_power_are_told_apart_by_the_boot(last, said):
    row = events.opened(last, "this", "release dev")
    assert (row.what, row.old, row.new) == ("trail-open", said, "this")
    assert row.who and row.why

"""How a line begins that starts inside an open batch: it goes on, stays aborted, or waits for a person. Pure."""

from daemon.faults import BY_PERSON, TABLE
from daemon.line.desk import EMPTYING, Desk
from daemon.line.oversight import Oversight
from daemon.messages import Resume
from daemon.states import State


def begin(desk: Desk, oversight: Oversight, resume: Resume, now_ns: int) -> None:
    """Bring the line into the state in which the batch needs it. Called once in the life of a line process.

    With a PLC the vials are on the belt and the PLC knows each of them: go on. Without one nobody knows them any more.
    What waited for a person goes on waiting.
    """
    _owed(desk, oversight, resume, now_ns)
    if resume.running and not oversight.direct:
        desk.resume(now_ns, emptying=resume.state in {state.name for state in EMPTYING})
    latched = [code for code in resume.owed.latched if code in TABLE or code in BY_PERSON]
    desk.latched_before(latched, now_ns)
    if oversight.direct and (todo := oversight.earlier.found(resume, resume.running)):
        desk.alarm("LEFT_BEHIND", todo, now_ns)
        if not oversight.earlier.units:
            oversight.clearance.require("this computer restarted inside a batch")


def _owed(desk: Desk, oversight: Oversight, resume: Resume, now_ns: int) -> None:
    owed = resume.owed
    desk.in_mode(owed.mode, now_ns)
    if resume.state == State.ABORTED.name:
        desk.aborted_before(now_ns)
    desk.reset_owed |= owed.reset
    oversight.clearance.take_out(owed.removed)
    if owed.empty_run:
        oversight.clearance.require("the empty-line run was still to come when the line restarted")

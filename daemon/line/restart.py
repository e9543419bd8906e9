"""How a line begins that starts inside an open batch: it goes on, stays aborted, or waits for a person. Pure."""

from daemon.line.desk import Desk
from daemon.line.oversight import Oversight
from daemon.messages import Resume
from daemon.states import State


def begin(desk: Desk, oversight: Oversight, resume: Resume, now_ns: int) -> None:
    """Bring the line into the state in which the batch needs it. Called once in the life of a line process.

    With a PLC the vials are on the belt and the PLC knows each of them: go on. Without one nobody knows them any more.
    """
    if resume.state == State.ABORTED.name:
        desk.aborted_before(now_ns)
    if not oversight.direct:
        if resume.running:
            desk.resume(now_ns)
        return
    if todo := oversight.earlier.found(resume, resume.running):
        desk.alarm("LEFT_BEHIND", todo, now_ns)
        if not oversight.earlier.units:
            oversight.clearance.require("this computer restarted inside a batch")

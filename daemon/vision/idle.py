"""What thread `infer` does while no frame waits: golden frames in turn, now and then a call that keeps engines warm.

Every golden case of every pair that is warm is run once in each period, those of the judging pair at the start of a
batch too; a call that keeps warm comes when nothing was inferred for KEEP_WARM_NS. Neither is begun while a frame
waits, so that a frame waits for one call at most; only a case that nobody found the time for is run all the same.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from daemon.vision.plan import Plan
from engines.canary import Canary

KEEP_WARM_NS = 200_000_000
MINUTE_NS = 60_000_000_000
PERIODS_AT_MOST = 2


class Idle:
    """Owned by thread `infer`. `plans`: the judging one first, then whatever else is warm."""

    def __init__(self, golden_minutes: float) -> None:
        self._period_ns = int(golden_minutes * MINUTE_NS)
        self._next_case_ns: WeakKeyDictionary[Canary, int] = WeakKeyDictionary()
        self._inferred_ns = 0

    def inferred(self, now_ns: int) -> None:
        """A frame was inferred: the engines are warm."""
        self._inferred_ns = now_ns

    def overdue(self, plans: Sequence[Plan], now_ns: int) -> bool:
        """True if a golden case was not run for so long that a frame has to wait for it."""
        return any(now_ns - plan.canary.right_since_ns > PERIODS_AT_MOST * self._period_ns for plan in plans)

    def batch_began(self, plans: Sequence[Plan], now_ns: int, advanced: Callable[[], None]) -> None:
        """Run every golden case of the judging plan, before the first unit of the batch.

        `advanced` is called after each: a large set takes longer than the watchdog waits.

        Raises:
            EngineError: see `engines.canary.Canary.check_all`.
        """
        for _ in range(len(plans[0].canary)):
            plans[0].canary.check_next()
            advanced()
        self._put_off(plans[0].canary, now_ns)

    def work(self, plans: Sequence[Plan], now_ns: int) -> None:
        """Do one thing that is due, if any: it takes the time of one inference.

        Raises:
            EngineError: see `engines.canary.Canary.check_next`.
        """
        due = [plan.canary for plan in plans if now_ns >= self._next_case_ns.get(plan.canary, 0)]
        if due:
            due[0].check_next()
            self._put_off(due[0], now_ns)
            self.inferred(now_ns)
        elif now_ns - self._inferred_ns >= KEEP_WARM_NS:
            for looker in plans[0].lookers.values():
                looker.engine.keep_warm()
            self.inferred(now_ns)

    def _put_off(self, canary: Canary, now_ns: int) -> None:
        self._next_case_ns[canary] = now_ns + self._period_ns // max(1, len(canary))

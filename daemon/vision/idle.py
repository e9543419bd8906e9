"""What thread `infer` does while no frame waits: golden frames in turn, now and then a call that keeps engines warm.

Every golden case is run at the start of a batch and once in each period; a call that keeps warm comes when nothing was
inferred for KEEP_WARM_NS. Neither is begun while a frame waits, so that a frame waits for one call at most.
"""

from daemon.vision.plan import Plan

KEEP_WARM_NS = 200_000_000
MINUTE_NS = 60_000_000_000


class Idle:
    """Owned by thread `infer`."""

    def __init__(self, golden_minutes: float) -> None:
        self._period_ns = int(golden_minutes * MINUTE_NS)
        self._next_case_ns = 0
        self._inferred_ns = 0

    def inferred(self, now_ns: int) -> None:
        """A frame was inferred: the engines are warm."""
        self._inferred_ns = now_ns

    def batch_began(self, plan: Plan, now_ns: int) -> None:
        """Run every golden case, before the first unit of the batch.

        Raises:
            EngineError: see `engines.canary.Canary.check_all`.
        """
        plan.canary.check_all()
        self._put_off(plan, now_ns)

    def work(self, plan: Plan, now_ns: int) -> None:
        """Do one thing that is due, if any: it takes the time of one inference.

        Raises:
            EngineError: see `engines.canary.Canary.check_next`.
        """
        if now_ns >= self._next_case_ns:
            plan.canary.check_next()
            self._put_off(plan, now_ns)
            self.inferred(now_ns)
        elif now_ns - self._inferred_ns >= KEEP_WARM_NS:
            for looker in plan.lookers.values():
                looker.engine.keep_warm()
            self.inferred(now_ns)

    def _put_off(self, plan: Plan, now_ns: int) -> None:
        self._next_case_ns = now_ns + self._period_ns // max(1, len(plan.canary))

"""What stopped the line: the first cause in time and those after it, kept until a person resets. Pure."""

from dataclasses import dataclass

MOST = 20


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of a stop: a code of faults.py and what it was about. `at_ns` CLOCK_MONOTONIC."""

    at_ns: int
    code: str
    detail: str


class FirstOut:
    """Owned by Desk. A stop that was over by itself stays readable until the next one begins."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self.stopped = False

    @property
    def first(self) -> Cause | None:
        """The first cause of the present stop, None while the line runs."""
        return self.causes[0] if self.stopped else None

    def add(self, code: str, detail: str, now_ns: int) -> None:
        """Something stops the line, or would if it were not stopped yet."""
        if not self.stopped:
            self.causes, self.stopped = [], True
        if len(self.causes) < MOST and (code, detail) not in [(cause.code, cause.detail) for cause in self.causes]:
            self.causes.append(Cause(now_ns, code, detail))

    def runs(self) -> None:
        """The line is in Execute again: the next cause begins a new list."""
        self.stopped = False

    def reset(self) -> None:
        """A person reset the line."""
        self.causes, self.stopped = [], False

"""Golden frames, asked of the loaded engines again and again while they inspect.

At load every case must come out as the bundle says, within its tolerance. From then on the same engine must give the
same bytes: on one device nothing but a fault changes them.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from engines.engine import Engine, Frame, Outputs, allocate
from engines.errors import GoldenRefused
from engines.golden import case_findings, grey_png, raw_bytes
from signing.manifest import GoldenCase
from signing.verify import VerifiedBundle


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """One case with its frame decoded, and the bytes that the engine gave at load."""

    case: GoldenCase
    engine: Engine
    frame: Frame
    out: Outputs
    given: bytes


class Canary:
    """The golden set of the loaded models of one bundle. Used by the thread that uses the engines."""

    def __init__(self, bundle: VerifiedBundle, engines: Iterable[tuple[str, Engine]]) -> None:
        """Run every case of the models that were loaded; `engines` with the name of the model each has.

        Raises:
            GoldenRefused: one differs from the bundle by more than its tolerance.
            EngineError: an engine fails, or a golden frame is none.
        """
        self._bundle = bundle
        self._next = 0
        self._right_ns: list[int] = []
        cases = bundle.manifest.golden.cases
        self._cases = [self._known(case, engine) for name, engine in engines for case in cases if case.model == name]

    def __len__(self) -> int:
        return len(self._cases)

    @property
    def right_since_ns(self) -> int:
        """When the case that was not run for longest came out right, CLOCK_MONOTONIC."""
        return min(self._right_ns)

    def check_all(self) -> None:
        """Run every case once.

        Raises:
            GoldenRefused: an engine gives other bytes than at load.
            EngineError: an engine fails.
        """
        for _ in self._cases:
            self.check_next()

    def check_next(self) -> None:
        """Run one case, in turn; takes the time of one `infer`.

        Raises:
            GoldenRefused: the engine gives other bytes than at load.
            EngineError: the engine fails.
        """
        turn, self._next = self._next, (self._next + 1) % len(self._cases)
        known = self._cases[turn]
        if self._run(known.case, known.engine, known.frame, known.out) != known.given:
            differs = case_findings(self._bundle, known.case, known.out)
            shown = f": {differs[0]}" if differs else " by less than the tolerance"
            raise GoldenRefused(
                f"model '{known.case.model}' gives other numbers for {known.case.file} than when it was loaded{shown}; "
                "load it again, and look at the memory of this computer if it comes back"
            )
        self._right_ns[turn] = time.monotonic_ns()

    def _known(self, case: GoldenCase, engine: Engine) -> _Known:
        frame = grey_png(case.file, self._bundle.files[case.file])
        out = allocate(engine.outputs)
        given = self._run(case, engine, frame, out)
        for finding in case_findings(self._bundle, case, out):
            name = f"{self._bundle.manifest.name} {self._bundle.manifest.version}"
            raise GoldenRefused(f"bundle {name} fails its golden set here: {finding}; it inspects nothing")
        self._right_ns.append(time.monotonic_ns())
        return _Known(case, engine, frame, out, given)

    def _run(self, case: GoldenCase, engine: Engine, frame: Frame, out: Outputs) -> bytes:
        engine.infer(frame, out)
        return raw_bytes(self._bundle.manifest.models[case.model], out)

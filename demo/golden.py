"""The golden frames of the demo bundle: rendered vials that every model must score as it did at the build."""

from demo.spec import Pictures
from drivers.sim.render import render_views
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import DefectCode, View, load_difficulty

SEED = 20260005
CASES: tuple[tuple[View, DefectCode | None], ...] = (
    (View.BODY, None),
    (View.BODY, DefectCode.CRACK),
    (View.BODY, DefectCode.LOW_FILL),
    (View.CRIMP, None),
    (View.CRIMP, DefectCode.SCRATCHED_CRIMP),
)


def golden_frames() -> list[tuple[str, View, Pictures]]:
    """Return file name, view and raw frame, (H, W) uint8, of each case; the same every time on one kind of CPU."""
    rules = load_difficulty()
    found = []
    for number, (view, code) in enumerate(CASES):
        vial = sample_vial(SEED, number, (code,) if code else (), rules)
        body, crimp = render_views(vial, rules)
        name = f"golden-{number}-{view}-{code or 'good'}.png".replace("_", "-")
        found.append((name, view, body if view is View.BODY else crimp))
    return found

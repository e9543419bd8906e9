"""The masking test: does a model reject because of what its explanation points at?

The explained region is hidden behind the median of its surroundings, and the image judged again. If the class then
falls below its limit, the verdict rested on that region. So that this does not just show that any hidden region changes
a verdict, the same shape is hidden at random places beside it, the controls, which should change nothing.

The median, because it takes thin and small marks away and leaves the edges of glass, liquid and metal where they are:
filling from the rim breaks edges, and the model rejects the breaks. What is no mark (a fill level, a missing part) can
not be hidden like this.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from daemon.vision.judging import Limit
from daemon.vision.plan import Looker
from engines.engine import Frame
from engines.explanation import Explanation, explain
from engines.heads import decode
from provisioning.errors import CommandFailed
from signing.manifest import Region

Mask = npt.NDArray[np.uint8]

CONTROLS = 8
_TRIES = 400
_QUARTER = 0.25
_WIDEST_PX = 127
_ROUND = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))


class NothingToMask(CommandFailed):
    """The question cannot be asked of this model or image; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """What came of one image. Scores are of class `code`, 0..1; `hidden` of the image without the explained region.

    `region` is 255 where the frame was hidden; `share` of the model's region of interest is that. `controls` are the
    scores with the same shape hidden elsewhere; none where there was no room. `others` are the classes that are not
    accepted once the region is hidden. `window` is the side of the median in px.
    """

    code: str
    limit: float
    score: float
    hidden: float
    controls: tuple[float, ...]
    share: float
    others: tuple[str, ...]
    region: Mask
    window: int

    @property
    def flips(self) -> bool:
        """Hiding the region takes the class below its limit."""
        return self.hidden < self.limit

    @property
    def control_flips(self) -> int:
        return sum(score < self.limit for score in self.controls)

    @property
    def rests_on_region(self) -> bool:
        """The region changes the verdict and not one control does."""
        return self.flips and bool(self.controls) and not self.control_flips


def masking_test(look: Looker, frame: Frame, limits: Mapping[str, Limit], random: np.random.Generator) -> Masked | None:
    """Ask the question of one frame, (H, W) uint8; None where every class is accepted and there is no question.

    Raises:
        NothingToMask: the model has nothing that explains.
        EngineError: the model does not take the frame.
    """
    scores = _scores(look, frame)
    code = max(scores, key=lambda name: scores[name] - limits[name].accept_below)
    limit = limits[code].accept_below
    if scores[code] < limit:
        return None
    explanation = explain(look.model, look.out, code)
    if explanation is None:
        raise NothingToMask(f"model {look.model.file} has no map, boxes or mask that explain; choose another bundle")
    region = explained_region(explanation, frame.shape)
    if not region.any():
        raise NothingToMask(f"model {look.model.file} points at nothing for {code}; there is no region to hide")
    window, roi = window_px(explanation), explanation.region
    hidden = _scores(look, hide(frame, region, window))
    return Masked(
        code=code,
        limit=limit,
        score=scores[code],
        hidden=hidden[code],
        controls=tuple(_scores(look, hide(frame, other, window))[code] for other in controls(region, roi, random)),
        share=float(np.count_nonzero(region)) / (roi.width * roi.height),
        others=tuple(name for name, score in hidden.items() if score >= limits[name].accept_below and name != code),
        region=region,
        window=window,
    )


def explained_region(explanation: Explanation, shape: tuple[int, ...]) -> Mask:
    """Return 255 where the explanation points: (H, W) of a frame of `shape`.

    Of a map: the cells from a quarter of the way from its median to its highest value on, and those around them, as a
    cell speaks for more than its own pixels. Of boxes: what they enclose.
    """
    roi, mask = explanation.region, np.zeros(shape, np.uint8)
    inside = mask[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    if explanation.grid is not None:
        grid = explanation.grid
        middle = float(np.median(grid))
        least = middle + _QUARTER * (float(grid.max()) - middle)
        cells = cv2.dilate(np.where(grid >= least, 255, 0).astype(np.uint8), _ROUND)
        inside[:] = cv2.resize(cells, (roi.width, roi.height), interpolation=cv2.INTER_NEAREST)
        return mask
    for box in explanation.boxes:
        left, top = max(roi.x, int(box.left)), max(roi.y, int(box.top))
        right, bottom = min(roi.x + roi.width, math.ceil(box.right)), min(roi.y + roi.height, math.ceil(box.bottom))
        mask[top:bottom, left:right] = 255
    return mask


def window_px(explanation: Explanation) -> int:
    """Return the side of the median that hides: a cell of the map, or the shorter side of the largest box; odd."""
    roi, grid = explanation.region, explanation.grid
    if grid is not None:
        side = max(roi.height / grid.shape[0], roi.width / grid.shape[1])
    else:
        side = max((min(box.right - box.left, box.bottom - box.top) for box in explanation.boxes), default=0.0)
    return min(_WIDEST_PX, max(3, int(side) | 1))


def hide(frame: Frame, region: Mask, window: int) -> Frame:
    """Return a copy of the frame whose region is the median over `window` x `window` px."""
    return np.where(region > 0, cv2.medianBlur(frame, window), frame).astype(np.uint8)


def controls(region: Mask, roi: Region, random: np.random.Generator) -> Iterator[Mask]:
    """Yield the region moved to up to CONTROLS random places that it does not touch; what leaves `roi` comes in again
    on the other side, so that the size is the same.
    """
    shape = region[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    found = 0
    for _ in range(_TRIES):
        if found == CONTROLS:
            return
        moved = np.roll(shape, (random.integers(roi.height), random.integers(roi.width)), (0, 1))
        if not (moved & shape).any():
            control = np.zeros_like(region)
            control[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width] = moved
            found += 1
            yield control


def _scores(look: Looker, frame: Frame) -> dict[str, float]:
    look.engine.infer(frame, look.out)
    return decode(look.model, look.out)

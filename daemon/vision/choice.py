"""Which images are kept. Pure.

All of a unit that was not accepted, and of the accepted ones a share: a unit is drawn by the batch and by the keys of
its frames, which hold a random number of each acquisition start. Nobody can tell beforehand or from the pixels which
unit it will be, and everybody can tell afterwards from the unit's row. All views of a drawn unit are kept, so that it
can be replayed.
"""

import hashlib
from collections.abc import Iterable

from daemon.messages import Judged
from daemon.units import FrameKey, Verdict

RANGE = 1 << 64


def is_kept(judged: Judged, share: float, batch: str) -> bool:
    """Return whether the images of a judged unit are kept; `share` (0..1) is the recipe's `evidence_share`.

    The one place that knows: units of a challenge belong here too, once there are any.
    """
    return judged.verdict is not Verdict.ACCEPT or drawn(batch, (view.key for view in judged.views), share)


def drawn(batch: str, keys: Iterable[FrameKey], share: float) -> bool:
    """Return whether an accepted unit belongs to the share: the first 8 bytes of sha256 over the lines
    `batch`, then its frame keys in order, are below share * 2^64.
    """
    text = "\n".join((batch, *map(str, sorted(keys))))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) < share * RANGE

"""The evidence that travels inside a frame's buffer: GenICam chunk data (SFNC chapter Chunk Data Control)."""

from dataclasses import dataclass
from typing import Any, Final, Self

from genicam import genapi, gentl

_THEIRS: Final = (gentl.GenericException, genapi.GenericException)
_WANTED: Final = ("FrameID", "Timestamp", "CounterValue", "EncoderValue", "LineStatusAll")
_MISSED: Final = "FrameTriggerMissed"
_ADAPTERS: Final = {"U3V": genapi.ChunkAdapterU3V, "GEV": genapi.ChunkAdapterGEV}


@dataclass(frozen=True, slots=True)
class Latched:
    """What the camera's hardware latched at one exposure; None where it has no such chunk."""

    edge_count: int | None
    missed: int | None
    encoder: int
    line_status: int


class ChunkReader:
    """Reads one camera's chunks. Node objects are looked up once: a look-up costs more than a read."""

    @classmethod
    def enable(cls, tl_type: str, nodes: Any, edge_source: str) -> Self | None:
        """Switch on the chunks and counters that are evidence; None for a camera without chunks.

        Raises:
            genicam exceptions, which the caller translates.
        """
        selector, active = getattr(nodes, "ChunkSelector", None), getattr(nodes, "ChunkModeActive", None)
        if selector is None or active is None or not set(_WANTED) & set(selector.symbolics):
            return None
        active.value = True
        for name in set(_WANTED) & set(selector.symbolics):
            selector.value = name
            if not nodes.ChunkEnable.value:
                nodes.ChunkEnable.value = True
        return cls(tl_type, nodes, _configure_counters(nodes, edge_source))

    def __init__(self, tl_type: str, nodes: Any, counters: tuple[str, ...]) -> None:
        generic = tl_type not in _ADAPTERS
        self._adapter = (genapi.ChunkAdapterGeneric if generic else _ADAPTERS[tl_type])(nodes)
        self._generic = generic
        self._nodes = nodes
        self._counters = counters
        self._frame_id = getattr(nodes, "ChunkFrameID", None)
        self._timestamp = getattr(nodes, "ChunkTimestamp", None)
        self._encoder = getattr(nodes, "ChunkEncoderValue", None)
        self._lines = getattr(nodes, "ChunkLineStatusAll", None)
        self._which = getattr(nodes, "ChunkCounterSelector", None)
        self._count = getattr(nodes, "ChunkCounterValue", None)
        self._readable = False

    @property
    def identifies(self) -> bool:
        """Whether a stale buffer can be told by the frame id in its memory."""
        return self._frame_id is not None

    @property
    def counts_edges(self) -> bool:
        return "Counter0" in self._counters and self._count is not None

    @property
    def timestamps(self) -> bool:
        return self._timestamp is not None

    @property
    def encoder(self) -> bool:
        return self._encoder is not None

    def reset_counters(self) -> None:
        """Called just before AcquisitionStart, so that counts are since acquisition start."""
        for name in reversed(self._counters):
            self._nodes.CounterSelector.value = name
            self._nodes.CounterReset.execute()

    def counted(self) -> int:
        """The edge counter's register as it is now; the selector stands where `reset_counters` left it: Counter0."""
        return int(self._nodes.CounterValue.value)

    def read(self, buffer: Any, raw: bytes) -> Latched | None:
        """The chunks of a complete buffer; None if it holds none that can be read."""
        self._readable = False
        try:
            self._attach(buffer, raw)
            latched = Latched(
                edge_count=self._counter("Counter0"),
                missed=self._counter("Counter1"),
                encoder=self._encoder.value if self._encoder is not None else 0,
                line_status=self._lines.value if self._lines is not None else 0,
            )
        except _THEIRS:
            return None
        self._readable = True
        return latched

    def agrees(self, frame_id: int, device_ts: int) -> bool:
        """Whether the chunks last read belong to the frame that the buffer's information names."""
        if not self._readable:
            return False
        same_frame = self._frame_id is None or self._frame_id.value == frame_id
        return same_frame and (self._timestamp is None or self._timestamp.value == device_ts)

    def detach(self) -> None:
        """Forget the memory of the last buffer before it is revoked."""
        self._adapter.detach_buffer()

    def _attach(self, buffer: Any, raw: bytes) -> None:
        if self._generic:
            self._adapter.attach_buffer(raw, buffer.chunk_data_info_list)
        else:
            self._adapter.attach_buffer(raw, buffer.size_filled)

    def _counter(self, name: str) -> int | None:
        if name not in self._counters or self._count is None:
            return None
        if self._which is not None:
            self._which.value = name
        return int(self._count.value)


def _configure_counters(nodes: Any, edge_source: str) -> tuple[str, ...]:
    """Counter0 counts every rising edge of the trigger line, Counter1 the triggers that came while busy."""
    selector, source = getattr(nodes, "CounterSelector", None), getattr(nodes, "CounterEventSource", None)
    if selector is None or source is None or not edge_source.startswith("Line"):
        return ()
    configured = []
    for name, event in (("Counter0", edge_source), ("Counter1", _MISSED)):
        if name not in selector.symbolics:
            continue
        selector.value = name
        if event in source.symbolics:
            source.value = event
            configured.append(name)
    return tuple(configured)

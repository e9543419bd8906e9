"""A GenICam camera through any GenTL producer.

harvesters finds the camera, builds its node map and announces buffers. Frames are taken from the new-buffer event
beneath it, because its `fetch` discards incomplete buffers together with their frame id. genicam holds the GIL in every
call: one camera per process, and no other work in it.

The binding clears a buffer when it is queued (0.13 ms for 1.3 MB). That is kept for cameras without a frame id among
their chunks, so that a buffer which the producer failed to fill shows nothing rather than an earlier unit; where the
chunk is there, such a buffer is recognised by it.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic_ns
from typing import Any, Final

import numpy as np
from genicam import genapi, gentl
from harvesters.core import Harvester, ParameterKey, ParameterSet

from drivers.errors import DeviceLost, DeviceRefused, DeviceTimeout, ProducerMissing
from drivers.frame import CameraSettings, CameraTraits, ClockLatch, Grab
from drivers.genicam_chunks import ChunkReader

_LOG: Final = logging.getLogger(__name__)
_QUIET: Final = logging.getLogger("linewarden.harvesters")
_QUIET.setLevel(logging.CRITICAL + 1)
_THEIRS: Final = (gentl.GenericException, genapi.GenericException)
_LOST: Final = (gentl.IoException, gentl.ClosedException, gentl.InvalidHandleException)
_HEARTBEATS: Final = ("DeviceTemperature", "TimestampLatchValue", "PayloadSize", "Width")
_NOTHING: Final = CameraTraits(False, False, False, False, False, False)


class GenICamCamera:
    """Implements `drivers.ports.Camera`."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings: Final = settings
        self._traits = _NOTHING
        self._harvester: Any = None
        self._acquirer: Any = None
        self._nodes: Any = None
        self._stream: Any = None
        self._events: Any = None
        self._heartbeat: Any = None
        self._chunks: ChunkReader | None = None

    @property
    def traits(self) -> CameraTraits:
        return self._traits

    def open(self) -> None:
        self.close()
        try:
            self._discover()
            self._acquirer = self._connect()
            self._attach()
            self._configure()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        with self._translated("start acquisition"):
            if self._chunks:
                self._chunks.reset_counters()
            self._acquirer.num_buffers = self._settings.buffers
            self._acquirer.start()

    def wait(self, timeout_ms: int) -> Grab | None:
        with self._translated("deliver a frame"):
            try:
                self._events.update_event_data(timeout_ms)
            except gentl.TimeoutException:
                return None
            return self._grab(self._events.buffer)

    def requeue(self, grab: Grab) -> None:
        with self._translated("take a buffer back"):
            self._stream.queue_buffer(grab.buffer, self._chunks is None or not self._chunks.identifies)

    def latch(self) -> ClockLatch:
        if not self._traits.latch:
            raise DeviceRefused(f"camera {self._settings.serial} has no TimestampLatch")
        with self._translated("latch its clock"):
            before = monotonic_ns()
            self._nodes.TimestampLatch.execute()
            after = monotonic_ns()
            return ClockLatch(int(self._nodes.TimestampLatchValue.value), before, after)

    def alive(self) -> int | None:
        with self._translated("answer"):
            if self._chunks and self._chunks.counts_edges:
                return self._chunks.counted()
            if self._heartbeat is not None:
                _ = self._heartbeat.value
            return None

    def trigger(self) -> None:
        if not self._traits.software_trigger:
            raise DeviceRefused(f"camera {self._settings.serial} has no software trigger")
        with self._translated("take a software trigger"):
            self._nodes.TriggerSoftware.execute()

    def reset(self) -> None:
        if self._node("DeviceReset") is None:
            raise DeviceRefused(f"camera {self._settings.serial} has no DeviceReset")
        with self._translated("restart"):
            self._nodes.DeviceReset.execute()

    def stop(self) -> None:
        if self._acquirer is None:
            return
        if self._chunks:
            self._chunks.detach()
        try:
            self._acquirer.stop()
        except _THEIRS as error:  # harvesters lets GenTL errors out half-way; without this the device stays claimed
            _LOG.info("camera %s: stopped on this side only: %s", self._settings.serial, _line(error))
            self._kill_streams()

    def close(self) -> None:
        self.stop()
        for release in (getattr(self._acquirer, "destroy", None), getattr(self._harvester, "reset", None)):
            try:
                if release:
                    release()
            except _THEIRS as error:
                _LOG.warning("camera %s: not released cleanly: %s", self._settings.serial, _line(error))
        self._acquirer = self._harvester = self._nodes = self._stream = self._events = self._heartbeat = None
        self._chunks, self._traits = None, _NOTHING

    # ---- finding and configuring ----

    def _discover(self) -> None:
        path = self._settings.producer
        if not path.is_file():
            raise ProducerMissing(f"GenTL producer {path} is not there; install it or correct `producer`")
        self._harvester = Harvester(config=ParameterSet({ParameterKey.LOGGER: _QUIET}))
        self._harvester.add_file(str(path.absolute()))
        self._harvester.update()
        if not self._harvester.device_info_list:
            self._harvester.reset()
            _try_producer(str(path.absolute()))

    def _connect(self) -> Any:
        serial, found = self._settings.serial, [_serial_of(info) for info in self._harvester.device_info_list]
        if serial not in found:
            seen = ", ".join(found) or "no camera"
            raise DeviceLost(f"camera {serial} is not on the network; {self._settings.producer.name} sees {seen}")
        config = ParameterSet({ParameterKey.ENABLE_AUTO_CHUNK_DATA_UPDATE: False})
        with self._translated("open"), _own_interrupt():
            return self._harvester.create(found.index(serial), config=config)

    def _attach(self) -> None:
        with self._translated("describe itself"):
            self._nodes = self._acquirer.remote_device.node_map
            self._stream = self._acquirer.data_streams[0].module
            # The event is registered once per stream, by harvesters, which offers no public way to it.
            self._events = next(iter(self._acquirer._new_buffer_event_monitor_dict.values()))
            self._heartbeat = next((node for name in _HEARTBEATS if (node := self._node(name)) is not None), None)

    def _configure(self) -> None:
        settings = self._settings
        for name, value in (("Width", settings.width), ("Height", settings.height), ("PixelFormat", "Mono8")):
            if value and settings.width:
                self._set(name, value)
        if settings.exposure_us:
            self._set("ExposureTime", settings.exposure_us)
        self._set_trigger()
        with self._translated("enable its chunks"):
            chunks = ChunkReader.enable(self._acquirer.device.tl_type, self._nodes, settings.trigger_source)
        self._chunks = chunks
        sources = self._symbols("TriggerSource")
        self._traits = CameraTraits(
            hardware_trigger=any(name.startswith("Line") for name in sources),
            software_trigger="Software" in sources and self._node("TriggerSoftware") is not None,
            edge_counter=chunks is not None and chunks.counts_edges,
            timestamps=chunks is not None and chunks.timestamps,
            encoder=chunks is not None and chunks.encoder,
            latch=self._node("TimestampLatch") is not None and self._node("TimestampLatchValue") is not None,
        )

    def _set_trigger(self) -> None:
        if self._node("TriggerMode") is None:
            if self._settings.trigger_source:
                raise DeviceRefused(f"camera {self._settings.serial} has no trigger; it cannot inspect single units")
            return
        if self._settings.trigger_source:
            self._set("TriggerSource", self._settings.trigger_source)
        self._set("TriggerMode", "On" if self._settings.trigger_source else "Off")

    def _node(self, name: str) -> Any:
        return getattr(self._nodes, name, None)

    def _symbols(self, name: str) -> tuple[str, ...]:
        node = self._node(name)
        return tuple(node.symbolics) if node is not None else ()

    def _set(self, name: str, value: float | str) -> None:
        node = self._node(name)
        if node is None:
            raise DeviceRefused(f"camera {self._settings.serial} has no feature {name}")
        with self._translated(f"set {name} to {value}"):
            if node.value != value:
                node.value = value

    # ---- frames ----

    def _grab(self, buffer: Any) -> Grab:
        frame_id, complete = int(buffer.frame_id), bool(buffer.is_complete())
        width, height = int(buffer.width), int(buffer.height)
        raw, row = buffer.raw_buffer, width * (buffer.pixel_format >> 16 & 0xFF) // 8
        stamp = int(buffer.timestamp_ns) if self._traits.timestamps else 0
        enough = len(raw) >= row * height
        pixels = np.frombuffer(raw, np.uint8, row * height if enough else 0)
        latched = self._chunks.read(buffer, raw) if self._chunks and complete else None
        return Grab(
            frame_id=frame_id,
            device_ts=stamp,
            edge_count=latched.edge_count if latched else None,
            missed=latched.missed if latched else None,
            encoder=latched.encoder if latched else 0,
            line_status=latched.line_status if latched else 0,
            complete=complete and enough,
            consistent=self._is_consistent(complete, frame_id, stamp),
            width=width,
            height=height,
            pixels=pixels.reshape(height if enough else 0, row),
            buffer=buffer,
        )

    def _is_consistent(self, complete: bool, frame_id: int, stamp: int) -> bool:
        if not complete or self._chunks is None:
            return True
        return self._chunks.agrees(frame_id, stamp)

    def _kill_streams(self) -> None:
        for stream in self._acquirer.data_streams:
            with suppress(*_THEIRS):
                stream.stop_acquisition(gentl.ACQ_STOP_FLAGS_LIST.ACQ_STOP_FLAGS_KILL)

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            raise DeviceLost(f"camera {self._settings.serial} is lost: {_line(error)}") from error
        except (gentl.TimeoutException, genapi.TimeoutException) as error:
            raise DeviceTimeout(f"camera {self._settings.serial} took too long to {action}: {_line(error)}") from error
        except _THEIRS as error:
            raise DeviceRefused(f"camera {self._settings.serial} did not {action}: {_line(error)}") from error


def _try_producer(path: str) -> None:
    """harvesters swallows why a producer does not load; ask again.

    Raises:
        ProducerMissing: with the reason.
    """
    producer = gentl.GenTLProducer.create_producer()
    try:
        producer.open(path)
        producer.close()
    except _THEIRS as error:
        raise ProducerMissing(f"GenTL producer {path} cannot be loaded: {_line(error)}") from error


def _serial_of(info: Any) -> str:
    try:
        return str(info.serial_number)
    except _THEIRS:
        return ""


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Keeps our SIGINT handler: harvesters replaces it with one that destroys the acquirer and goes on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

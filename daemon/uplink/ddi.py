"""hawkBit's Direct Device Integration, as far as a device needs it: what does the orchestrator wish, and how did it go.

The server may be stolen. Nothing that it says is followed: of its links only the number of the action is read, and only
where they name this tenant and this device; its artifacts are never fetched. An order is a wish, and a wish chooses
among what two people permitted for this line. Feedback is for people who look at the server; nothing waits for it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import msgspec

from daemon.uplink.web import Web
from signing.permission import Pair

BUNDLE, RECIPE = "linewarden-bundle", "linewarden-recipe"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"(bundle|recipe)-([0-9a-f]{64})(?![0-9a-f])")
_SLEEP = re.compile(r"(\d{2}):([0-5]\d):([0-5]\d)")
_DETAIL = 200


_Answer = TypeVar("_Answer")


class OrderError(Exception):
    """What the orchestrator says cannot be used; one line."""


class Execution(StrEnum):
    """How far an order came, in the server's words."""

    PROCEEDING = "proceeding"
    CLOSED = "closed"
    CANCELED = "canceled"


class Finished(StrEnum):
    """How an order ended, in the server's words."""

    NONE = "none"
    SUCCESS = "success"
    FAILURE = "failure"


class _Link(msgspec.Struct):
    href: Annotated[str, msgspec.Meta(max_length=2048)]


class _Links(msgspec.Struct, rename="camel"):
    deployment_base: _Link | None = None
    cancel_action: _Link | None = None
    config_data: _Link | None = None


class _Polling(msgspec.Struct):
    sleep: str = ""


class _Config(msgspec.Struct):
    polling: _Polling = msgspec.field(default_factory=_Polling)


class _Base(msgspec.Struct):
    config: _Config = msgspec.field(default_factory=_Config)
    links: _Links = msgspec.field(name="_links", default_factory=_Links)


class _Artifact(msgspec.Struct):
    filename: Annotated[str, msgspec.Meta(max_length=512)]


class _Metadata(msgspec.Struct):
    key: str
    value: str


class _Chunk(msgspec.Struct):
    artifacts: Annotated[list[_Artifact], msgspec.Meta(max_length=16)] = []
    metadata: Annotated[list[_Metadata], msgspec.Meta(max_length=64)] = []


class _Chunks(msgspec.Struct):
    chunks: Annotated[list[_Chunk], msgspec.Meta(max_length=16)]


class _Deployment(msgspec.Struct):
    deployment: _Chunks


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to one poll. Actions by number; `sleep_s`: when the server wants to be asked again, 0 = as we like."""

    sleep_s: float
    deployment: int | None
    cancel: int | None
    wants_data: bool


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """One hawkBit server as this device sees it. Owned by uplink.

    Raises (all): WebError: out of reach or no usable HTTP answer.  OrderError: an answer that cannot be used.
    """

    web: Web
    url: str
    tenant: str
    device: str

    def poll(self) -> Offer:
        """Ask what there is to do: one small request."""
        base = _decode(self.web.get(self._root), _Base)
        links = base.links
        return Offer(
            sleep_s=_seconds(base.config.polling.sleep),
            deployment=self._action("deploymentBase", links.deployment_base),
            cancel=self._action("cancelAction", links.cancel_action),
            wants_data=links.config_data is not None,
        )

    def wish(self, action: int) -> Pair | None:
        """Return which bundle and recipe an action wants here, None where the server took it back meanwhile."""
        data = self.web.get(f"{self._root}/deploymentBase/{action}")
        if data.strip() == b"null":
            return None
        named = set(_named(_decode(data, _Deployment)))
        if sorted(kind for kind, _ in named) != ["bundle", "recipe"]:
            raise OrderError(f"order {action} does not name one bundle and one recipe")
        digests = dict(named)
        return Pair(digests["bundle"], digests["recipe"])

    def register(self, data: dict[str, str]) -> None:
        """Tell the server what this device is."""
        self.web.send("PUT", f"{self._root}/configData", msgspec.json.encode({"mode": "merge", "data": data}))

    def feedback(self, action: int, execution: Execution, finished: Finished, detail: str) -> None:
        """Tell how an order goes; `detail` is one line for people."""
        self._report(f"deploymentBase/{action}", execution, finished, detail)

    def cancelled(self, action: int) -> None:
        """Agree to the end of an action: what was not asked for any more is not downloaded further."""
        self._report(f"cancelAction/{action}", Execution.CLOSED, Finished.SUCCESS, "no longer asked for")

    @property
    def _root(self) -> str:
        return f"{self.url.rstrip('/')}/{self.tenant}/controller/v1/{self.device}"

    def _action(self, kind: str, link: _Link | None) -> int | None:
        if link is None:
            return None
        own = rf".*/{re.escape(self.tenant)}/controller/v1/{re.escape(self.device)}/{kind}/(-?\d{{1,18}})"
        try:
            path = urlsplit(link.href).path
        except ValueError:
            path = ""
        found = re.fullmatch(own, path)
        if found is None:
            raise OrderError(f"{self.url}: offers an action that is not for {self.tenant}/{self.device}")
        return int(found[1])

    def _report(self, path: str, execution: Execution, finished: Finished, detail: str) -> None:
        status = {"execution": execution, "result": {"finished": finished}, "details": [detail[:_DETAIL]]}
        words = {"time": datetime.now(UTC).strftime("%Y%m%dT%H%M%S"), "status": status}
        self.web.send("POST", f"{self._root}/{path}/feedback", msgspec.json.encode(words))


def _decode(data: bytes, form: type[_Answer]) -> _Answer:
    """Return an answer in its form. Fields that are not asked for may be there: every server adds its own."""
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OrderError(f"the orchestrator's answer cannot be read: {str(error)[:120]}") from error


def _named(found: _Deployment) -> Iterator[tuple[str, str]]:
    """Yield (kind, digest) of all that a deployment names: in its artifacts' file names, or in its metadata."""
    for chunk in found.deployment.chunks:
        for artifact in chunk.artifacts:
            yield from _NAMED.findall(artifact.filename)
        for entry in chunk.metadata:
            if entry.key in (BUNDLE, RECIPE) and _DIGEST.fullmatch(entry.value):
                yield entry.key.removeprefix("linewarden-"), entry.value


def _seconds(sleep: str) -> float:
    found = _SLEEP.fullmatch(sleep)
    return 3600.0 * int(found[1]) + 60.0 * int(found[2]) + int(found[3]) if found else 0.0

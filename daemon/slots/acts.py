"""What slots does when it is asked: one act each, done whole or refused in one line, and told to the recorder.

Activating, rolling back, pinning and collecting need the recorder there: they are refused without it. Installing does
not: nothing of it is used yet, and its row waits in the store's state.
"""

from collections.abc import Callable
from pathlib import Path

from daemon.acts import unfit
from daemon.messages import Act
from daemon.slots import facts, plans
from daemon.slots.intake import from_folder
from daemon.slots.plan_bench import build_missing
from daemon.slots.shop import (
    FOLDER,
    UNRECORDED,
    Shop,
    fit_to_run,
    installed,
    permit,
    require_approver,
    require_signers,
    stamp,
    to_activate,
)
from daemon.slots.updating import apply, check
from daemon.store_requests import CARRIED, REQUESTS, Request, Response, What
from engines.backends import PLAIN
from engines.errors import EngineError
from signing.errors import SigningError
from signing.plan_approval import read_plan_approval
from signing.store import sweep
from signing.store_keep import kept, without_others
from signing.store_state import (
    Said,
    StoreRefused,
    StoreState,
    due,
    entry_of,
    named,
    pinned,
    recipe_for,
    reported,
    rolled_back,
    unpinned,
)

NEED_RECORD = frozenset(
    {What.ACTIVATE, What.ROLLBACK, What.PIN, What.UNPIN, What.COLLECT, What.APPROVE_PLAN},
)
ON_RECORD = {what: what if what in (What.CHECK, What.APPLY) else f"bundle-{what}" for what in What}
MACHINE = "machine"
Done = tuple[StoreState, str, str]
"""The state after an act, what to answer, and what is new by it ("" = what the state looks like)."""


class Acts:
    """Owned by one run of slots."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._doers: dict[What, Callable[[Request, Said], Done]] = {
            What.INSTALL: self._install,
            What.ACTIVATE: self._activate,
            What.ROLLBACK: self._roll_back,
            What.PIN: self._pin,
            What.UNPIN: self._unpin,
            What.COLLECT: self._collect,
            What.CHECK: self._check,
            What.APPLY: self._apply,
            What.BUILD_PLANS: self._build_plans,
            What.APPROVE_PLAN: self._approve_plan,
        }

    def perform(self, request: Request, who: str) -> Response:
        """Do what was asked, or refuse; either way the answer and the row are in the store's state when it returns.

        Raises:
            OSError: the store cannot be written; the request is tried again.
        """
        book = self._shop.book
        signed = request.subject if request.what is What.APPROVE_PLAN else ""
        new = "" if signed else request.subject
        act = Act(ON_RECORD[request.what], who, request.role, request.reason, "", new, signed)
        try:
            state, text, new = self._done(request, act)
            answer = Response(True, text)
        except (SigningError, EngineError, OSError) as error:
            state, answer = book.state, Response(False, told(error))
        book.commit(book.telling(state, request.id, answer), act, answer, new)
        return answer

    def _done(self, request: Request, act: Act) -> Done:
        if refusal := unfit(act):
            raise StoreRefused(refusal)
        if request.what in NEED_RECORD and not self._shop.recorder.there:
            raise StoreRefused(UNRECORDED)
        return self._doers[request.what](request, Said(act.actor, act.role, act.reason, stamp()))

    def catch_up(self) -> None:
        """Do what waited for the end of a batch."""
        book = self._shop.book
        waiting = book.state.waiting
        if waiting is None or not self._shop.recorder.there:
            return
        after = due(book.state, self._shop.facts())
        if after is not None:
            act = Act(ON_RECORD[What.ACTIVATE], waiting.who, waiting.role, waiting.why, "", "")
            book.commit(after[0], act, Response(after[0].active != book.state.active, after[1]))

    def vision_said(self, generation: int, ok: bool, text: str) -> bool:
        """Take what vision said of a generation; False while the record has to be waited for."""
        book = self._shop.book
        after = reported(book.state, generation, ok, text, self._shop.facts())
        if after is None:
            return True
        if not self._shop.recorder.there:
            return False
        act = Act("bundle-good" if ok else "bundle-refused", "vision", MACHINE, text or "loaded and warm", "", "")
        book.commit(after[0], act, Response(True, after[1]))
        return True

    def tidy(self) -> None:
        """Remove what no state names any more."""
        sweep(self._shop.book.folder, self._shop.book.state)
        plans.tidy(self._shop.book.folder, self._shop.book.state)

    def _install(self, request: Request, _said: Said) -> Done:
        shop = self._shop
        state = shop.book.state
        if shop.station.production and state.listing is None:
            raise StoreRefused("nothing was ever read from the fleet: update first, `update from-usb` will do")
        carried = shop.state / REQUESTS / f"{request.id}{CARRIED}"
        source = carried if request.carried else Path(request.subject)
        arrived = from_folder(shop.book.folder, source, shop.trust(state.trust), shop.tried)
        permit(shop, arrived.digest)
        require_signers(shop, arrived)
        what = f"{arrived.kind} {arrived.name} {arrived.version} {arrived.digest}"
        return installed(state, arrived, request.subject, FOLDER), f"installed {what}", what

    def _activate(self, request: Request, said: Said) -> Done:
        state = self._shop.book.state
        recipe = recipe_for(state, named(state, request.subject))
        for digest in (recipe, state.installed[recipe].bundle):
            permit(self._shop, digest)
        return *to_activate(self._shop, recipe, said), ""

    def _roll_back(self, _request: Request, said: Said) -> Done:
        state = self._shop.book.state
        after = rolled_back(state, self._shop.facts(), said)
        one = state.generations[state.previous]
        if self._shop.station.vision.backend != PLAIN:
            fit_to_run(self._shop, one.bundle, one.recipe, one.trust)
        return *after, ""

    def _pin(self, request: Request, said: Said) -> Done:
        state = self._shop.book.state
        digest = named(state, request.subject)
        return pinned(state, digest, said), f"{digest[:12]} is pinned: nothing else is activated", f"pin {digest}"

    def _unpin(self, request: Request, _said: Said) -> Done:
        state = self._shop.book.state
        digest = named(state, request.subject)
        return unpinned(state, digest), f"{digest[:12]} is not pinned any more", f"no pin {digest}"

    def _collect(self, _request: Request, _said: Said) -> Done:
        book = self._shop.book
        keep = kept(book.state, facts.needed(self._shop.state))
        after = without_others(book.state, keep)
        gone = sorted(book.state.installed.keys() - after.installed.keys())
        why = "; ".join(f"{digest[:12]}: {reason}" for digest, reason in sorted(keep.items()))
        removed = ", ".join(digest[:12] for digest in gone) or "nothing"
        removed_plans = plans.collected(self._shop, after)
        return after, f"removed {removed}; kept {why or 'nothing'}{removed_plans}", f"removed {removed}{removed_plans}"

    def _build_plans(self, request: Request, _said: Said) -> Done:
        shop = self._shop
        state, shelf = shop.book.state, shop.shelf(shop.book.state.trust)
        if shelf is None:
            raise StoreRefused(f"this station's back end is {shop.station.vision.backend}: it runs no plans")
        told_of: list[str] = []
        for digest in _bundles(state, request.subject):
            told_of += build_missing(shelf, plans.opened(shop, digest))
        text = "; ".join(told_of)
        return state, text or "nothing is active: name a bundle", text or "nothing"

    def _approve_plan(self, request: Request, _said: Said) -> Done:
        state, raw = self._shop.book.state, request.subject.encode()
        approval = read_plan_approval(raw, self._shop.trust(state.trust))
        require_approver(self._shop, approval)
        text = plans.take_in(self._shop, approval, raw)
        return state, text, text

    def _check(self, request: Request, _said: Said) -> Done:
        return check(self._shop, request)

    def _apply(self, request: Request, said: Said) -> Done:
        return apply(self._shop, request, said)


def _bundles(state: StoreState, subject: str) -> list[str]:
    """Return the digests of the bundles whose plans are asked for; "" = of what is active and staged."""
    if subject:
        digest = named(state, subject)
        return [entry_of(state, digest).bundle or digest]
    return list(dict.fromkeys(state.generations[one].bundle for one in (state.active, state.staged) if one))


def told(error: Exception) -> str:
    """Return an error as the one line of an answer."""
    text = str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or 'the store'}: {error.strerror}; make room or mend the disk"
    return " ".join(text.split())

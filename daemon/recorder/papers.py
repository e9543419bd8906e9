"""What the recorder reads of the device's papers at the moment of an act: the trust store, and what is revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon import revocations
from daemon.config import Station, resolve
from daemon.revocations import RevocationsUnreadable
from daemon.store_requests import STORE
from signing.keyring import load_trust
from signing.order import SwapOrder, read_swap_order
from signing.store import STATE, TRUSTS, read_state


@dataclass(frozen=True, slots=True)
class Papers:
    """Owned by the desk."""

    station_path: Path
    station: Station
    state: Path

    def order(self, signature: str) -> SwapOrder:
        """Return what an order says, if a person of QA signed it: by the store's newest trust, where there is a store.

        Raises:
            SigningError: the trust store cannot be read, or the order is not signed as it must be.
        """
        folder, store = resolve(self.station_path, self.station.vision.trust), self.state / STORE
        if (store / STATE).exists():
            folder = store / TRUSTS / read_state(store).trust
        return read_swap_order(signature.encode(), load_trust(folder, production=self.station.production))

    def revoked(self, bundle: str, recipe: str, signers: Sequence[str]) -> str:
        """Return why a pair may not be used any more, naming digest and reason, "" if it may."""
        try:
            return revocations.read(self.state).why(bundle, recipe, signers)
        except RevocationsUnreadable as error:
            return str(error)

"""What a report shows of a recipe on record, whatever its format: a batch is reported years after its format went."""

from msgspec import Struct


class RecordedLimit(Struct, frozen=True):
    """The limits of one class; `daemon.recipe.Limit` says what they mean."""

    accept_below: float
    reject_from: float


class RecordedView(Struct, frozen=True):
    """The limits of one view, by class."""

    limits: dict[str, RecordedLimit]


class RecordedRecipe(Struct, frozen=True):
    """Read from bytes whose digest the batch pins; other fields are left out."""

    product: str
    views: tuple[RecordedView, ...]

"""Moments as every document writes them: UTC, whole seconds, `2026-11-23T00:45:00Z`. Pure."""

from datetime import UTC, datetime

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def utc_text(moment: datetime) -> str:
    """Return an aware moment as documents write it."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def read_utc(text: str) -> datetime:
    """Return the moment that `text` is.

    Raises:
        ValueError: not written this way.
    """
    moment = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    if utc_text(moment) != text:
        raise ValueError(f"{text[:40]!r} is not a time like 2026-11-23T00:45:00Z")
    return moment

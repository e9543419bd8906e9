"""What an act must say before anybody does it, and how it goes on record. Pure; used by every owner of state."""

import unicodedata

from daemon.messages import Act, Answer
from daemon.records import AuditRow

LONGEST_REASON = 1000
LONGEST = {"kind": 40, "actor": 100, "role": 100, "reason": LONGEST_REASON, "new": 200, "signature": 4096}
LONGEST_VALUE = 2000
NOBODY, NOTHING = "nobody", "no reason given"


def unfit(act: Act) -> str:
    """Return why an act cannot be put on record as it is, "" if it can: who and why in words, no text too long."""
    if not _said(act.reason) or not _said(act.actor):
        return "an act needs an actor and a reason"
    if not _said(act.role):
        return "an act needs the role of its actor"
    for field, most in LONGEST.items():
        if (length := len(getattr(act, field))) > most:
            return f"the {field} has {length} characters: at most {most} go on record, say it shorter"
        if not all(map(_ordinary, getattr(act, field))):
            return f"the {field} has control characters in it: say it in one line"
    return ""


def _said(text: str) -> bool:
    """True if there is a letter or a digit of any script in it: blanks and dots say nothing."""
    return any(character.isalnum() for character in text)


def _ordinary(character: str) -> bool:
    """True for what is no control character and ends no line."""
    return unicodedata.category(character) not in ("Cc", "Zl", "Zp")


def recorded(act: Act, old: str, new: str, answer: Answer, now_ns: int) -> AuditRow:
    """Return an act as it goes on record; of one that was refused `new` is what was asked for."""
    told = {field: clipped(getattr(act, field), most) for field, most in LONGEST.items()}
    return AuditRow(
        seq=0,
        at_ns=now_ns,
        what=told["kind"],
        who=told["actor"] if _said(act.actor) else NOBODY,
        role=told["role"],
        why=told["reason"] if _said(act.reason) else NOTHING,
        old=clipped(old, LONGEST_VALUE),
        new=clipped(new, LONGEST_VALUE),
        done=answer.ok,
        answer=clipped(answer.text, LONGEST_VALUE),
        signature=told["signature"],
    )


def clipped(text: str, most: int) -> str:
    """Return `text`, or as much of it as a row may hold and how long it was."""
    return text if len(text) <= most else f"{text[:most]} ... ({len(text)} characters)"

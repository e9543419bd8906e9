"""Copies and fingerprints of a whole model: what can change is copied and hashed, what can not is shared.

An object counts as changeable if its class is named by the caller or is a list, dict, set, deque or array.
"""

from array import array
from collections import OrderedDict, deque
from typing import Any

_PLAIN = {int, str, bytes, float, bool, type(None)}
_ROWS = {list, deque, tuple}
_TABLES = {dict, OrderedDict}
_NONE: frozenset[str] = frozenset()


class Copies:
    """Copies models whose changeable classes are `classes`; attributes named in `shared` are never copied or hashed."""

    def __init__(
        self, classes: tuple[type, ...], shared: frozenset[str], unhashed: frozenset[str] = frozenset()
    ) -> None:
        self._names = {cls: _attributes(cls) for cls in classes}
        self._shared, self._unhashed = shared, unhashed | shared
        self._memo: dict[int, Any] = {}
        self._texts: dict[int, tuple[Any, str]] = {}

    def copy(self, model: Any) -> Any:
        """Return a model that shares nothing changeable with this one."""
        self._memo = {}
        return self._copy(model)

    def _copy(self, thing: Any) -> Any:
        kind = type(thing)
        if kind in _PLAIN:
            return thing
        known = self._memo.get(id(thing))
        if known is not None:
            return known
        if kind is list or kind is deque:
            made = kind() if kind is list else deque(maxlen=thing.maxlen)
            self._memo[id(thing)] = made
            made.extend([item if type(item) in _PLAIN else self._copy(item) for item in thing])
        elif kind is dict or kind is OrderedDict:
            made = kind()
            self._memo[id(thing)] = made
            for key, value in thing.items():
                made[key] = value if type(value) in _PLAIN else self._copy(value)
        elif kind is set:
            made = self._memo[id(thing)] = {self._copy(item) for item in thing}
        elif kind is array:
            made = self._memo[id(thing)] = thing[:]
        elif kind is tuple:
            made = tuple([self._copy(item) for item in thing])
        elif kind in self._names:
            made = self._memo[id(thing)] = kind.__new__(kind)
            for name in self._names[kind] or thing.__dict__:
                value = getattr(thing, name)
                if type(value) not in _PLAIN and name not in self._shared:
                    value = self._copy(value)
                object.__setattr__(made, name, value)
        else:
            return thing
        return made

    def fingerprint(self, model: Any) -> int:
        """Return a hash of everything that can change; equal models have equal ones."""
        self._memo = {}
        return hash(self._print(model))

    def _frozen(self, thing: Any) -> Any:
        """What never changes stands for itself; where it holds something that has no hash, for its text."""
        if id(thing) not in self._texts:
            try:
                hash(thing)
                return thing
            except TypeError:
                self._texts[id(thing)] = (thing, repr(thing))
        return self._texts[id(thing)][1]

    def _print(self, thing: Any) -> Any:
        kind, inside = type(thing), self._print
        if kind in _PLAIN:
            return thing
        if kind in self._names:
            return self._print_object(thing)
        if kind is array:
            return thing.tobytes()
        if kind in _ROWS:
            return tuple([inside(item) for item in thing])
        if kind in _TABLES:
            return tuple([(key, value if type(value) in _PLAIN else inside(value)) for key, value in thing.items()])
        return frozenset(inside(item) for item in thing) if kind is set else self._frozen(thing)

    def _print_object(self, thing: Any) -> Any:
        if id(thing) in self._memo:
            return self._memo[id(thing)]
        self._memo[id(thing)] = len(self._memo)
        names = self._names[type(thing)] or thing.__dict__
        values = [getattr(thing, name) for name in names if name not in self._unhashed]
        return tuple([value if type(value) in _PLAIN else self._print(value) for value in values])


def _attributes(cls: type) -> tuple[str, ...]:
    """Names of the slots of a class; empty where its objects have a __dict__."""
    return tuple(name for parent in cls.__mro__ for name in getattr(parent, "__slots__", ()))

"""When the trail's head is signed and anchored, with a real key in a real thread."""

import time
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from daemon.recorder.heads import PERIOD_NS, RETRY_NS, Anchored, Heads, Signed
from daemon.recorder.trail import Head
from signing import chain
from signing.device_key import PemKey, open_device_key
from signing.errors import KeyFailed

ORIGIN = "linewarden/box/00000001"
ROOT = bytes(range(32))


@pytest.fixture
def pem(tmp_path) -> PemKey:
    return open_device_key("development", tmp_path, None, "", production=False)


@dataclass
class Anchor:
    """A development key with an NV index beside it, as a TPM has one, and faults that can be switched on."""

    pem: PemKey
    value: bytes = chain.START
    deaf: bool = False
    forgetful: bool = False
    extended: list[bytes] = field(default_factory=list)

    @property
    def key_id(self):
        return self.pem.key_id

    @property
    def kind(self):
        return self.pem.kind

    def sign(self, text):
        if self.deaf:
            raise KeyFailed("no TPM at /dev/tpmrm0")
        return self.pem.sign(text)

    def anchored(self):
        return self.value

    def anchor(self, digest):
        if self.forgetful:
            raise KeyFailed("the TPM did not answer")
        self.value = chain.fold(self.value, digest)
        self.extended.append(digest)

    def close(self):
        pass


def heads_of(key, signed=0):
    made = Heads(key, ORIGIN, signed)
    made_close = made.close
    made.close = lambda: made_close(5.0)
    return closing(made)


def finished(heads, now=0):
    found = heads.done(now, 5.0)
    end = time.monotonic() + 5.0
    while not heads.idle and time.monotonic() < end:
        found += heads.done(now, 0.1)
    return found


def test_a_head_is_signed_by_the_device_key(pem):
    with heads_of(pem) as heads:
        heads.ask(Head(5, ROOT), 0, anchor=True)
        (made,) = finished(heads)
    assert isinstance(made, Signed) and (made.size, made.anchor, made.failure) == (5, False, "")
    said = chain.parse_note(made.note)
    assert (said.origin, said.size, said.root) == (ORIGIN, 5, ROOT)
    ((key_id, signature),) = said.signatures
    assert key_id == pem.key_id
    load_der_public_key(pem.public_der).verify(signature, said.text.encode(), ec.ECDSA(SHA256()))


@pytest.mark.clause("IEC 62443-4-2 CR 3.9")
def test_a_head_is_due_every_minute_in_which_entries_came(pem):
    with heads_of(pem, signed=5) as heads:
        heads.tick(Head(5, ROOT), 0)
        assert heads.idle, "nothing came since the last head"
        heads.tick(Head(6, ROOT), 0)
        assert [made.size for made in finished(heads)] == [6]
        heads.tick(Head(7, ROOT), PERIOD_NS - 1)
        assert heads.idle
        heads.tick(Head(7, ROOT), PERIOD_NS)
        assert [made.size for made in finished(heads)] == [7]


def test_a_note_is_anchored_after_it_was_given_back(pem):
    key = Anchor(pem)
    with heads_of(key) as heads:
        heads.ask(Head(5, ROOT), 0, anchor=True)
        (made,) = finished(heads)
        assert made.anchor and not key.extended
        heads.anchor(made)
        assert finished(heads) == [Anchored(5)]
        assert len(key.extended) == 1
        heads.ask(Head(6, ROOT), 0, anchor=False)
        assert [again.anchor for again in finished(heads)] == [False]


@pytest.mark.clause("IEC 62443-4-2 CR 2.10")
def test_the_next_note_is_anchored_when_the_ledger_has_the_mark_of_the_one_before(pem):
    key = Anchor(pem)
    with heads_of(key) as heads:
        for size in (5, 6, 7):
            heads.ask(Head(size, ROOT), 0, anchor=True)
        for made in finished(heads):
            heads.anchor(made)
        assert finished(heads) == [Anchored(5)]
        assert heads.idle and len(key.extended) == 1, "the mark of 5 is not durable yet"
        heads.marked()
        assert finished(heads) == [Anchored(6)]
        heads.marked()
        assert finished(heads) == [Anchored(7)]
        heads.marked()
        assert heads.idle


def test_a_key_that_fails_is_told_of_and_tried_again(pem):
    key = Anchor(pem, deaf=True)
    with heads_of(key) as heads:
        heads.tick(Head(5, ROOT), 0)
        (made,) = finished(heads)
        assert (made.note, made.failure) == ("", "no TPM at /dev/tpmrm0")
        key.deaf = False
        heads.tick(Head(5, ROOT), RETRY_NS - 1)
        assert heads.idle
        heads.tick(Head(5, ROOT), RETRY_NS)
        assert [bool(made.note) for made in finished(heads)] == [True]


def test_after_an_extension_that_failed_no_other_follows_before_the_next_start(pem):
    key = Anchor(pem, forgetful=True)
    with heads_of(key) as heads:
        heads.ask(Head(5, ROOT), 0, anchor=True)
        (made,) = finished(heads)
        heads.anchor(made)
        assert finished(heads) == [Anchored(5, "the TPM did not answer")]
        key.forgetful = False
        heads.ask(Head(6, ROOT), 0, anchor=True)
        assert [again.anchor for again in finished(heads)] == [False]


def test_a_head_that_failed_behind_a_later_one_is_not_signed_twice(pem):
    """ECDSA is random: another note of the same size would be another extension, of which no ledger knows."""
    key = Anchor(pem, deaf=True)
    with heads_of(key) as heads:
        heads.ask(Head(2, ROOT), 0, anchor=True)
        finished(heads)
        key.deaf = False
        heads.ask(Head(3, ROOT), 0, anchor=True)
        assert [made.size for made in finished(heads)] == [3]
        heads.lost(2, 0)
        heads.tick(Head(3, ROOT), RETRY_NS)
        heads.tick(Head(3, ROOT), PERIOD_NS)
        assert heads.idle

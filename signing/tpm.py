"""The device key in a TPM 2.0, and the anchor of the audit trail beside it. Needs the extra `tpm` (tpm2-pytss).

Key: a P-256 primary of the owner hierarchy, made persistent at KEY_HANDLE.
  - Owner, not endorsement: TPM2_Clear erases owner keys and owner indices together. Whoever empties the anchor loses
    the key with it, so a trail that was cut off cannot be signed anew by the key that signed the whole one.
  - Persistent, not made anew at each start: nothing but its first use needs the owner's authority, so a site can set
    an owner password afterwards, and with it nobody evicts the key or deletes the anchor. An update of the TPM's
    firmware, which may derive primaries differently, does not change the device's key.
  - A primary: should the handle be emptied, the same key comes back from the TPM's seed, and no blob lies on disk.
Anchor: an NV index of type EXTEND at ANCHOR_INDEX; what is in it can be extended and never set. No dictionary-attack
lockout for both (another program's wrong password must not stop the records). Handles lie in the owner's ranges of
the TCG registry of reserved handles.

Nothing transient stays loaded: a TPM has three slots, and /dev/tpmrm0 need not be the way in. Calls release the GIL;
one takes tens to hundreds of ms on a real TPM, so the recorder's loop must not wait for it.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP, TPM2_NT, TPM2_RC, TPM2_RH, TPM2_ST, TPMA_NV, TPMA_OBJECT
from tpm2_pytss.types import (
    TPM2B_AUTH,
    TPM2B_DIGEST,
    TPM2B_NV_PUBLIC,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMS_NV_PUBLIC,
    TPMT_SIG_SCHEME,
    TPMT_TK_HASHCHECK,
)

from signing.chain import START, key_id
from signing.errors import KeyFailed, KeyRefused, SigningError
from signing.public_key import public_key

KEY_HANDLE = 0x81024C57
ANCHOR_INDEX = 0x01804C57
DEVICE = "device:"
_DIGEST_BYTES = 32
# Part of what the key is derived from: other programs' primaries of the same template are other keys.
_UNIQUE = b"linewarden checkpoints, key 1"
_KEY_ATTRIBUTES = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.NODA
    | TPMA_OBJECT.SIGN_ENCRYPT
)
_INDEX_ATTRIBUTES = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA | TPM2_NT.EXTEND << TPMA_NV.TPM2_NT_SHIFT
_OWN_SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
_NOT_A_TICKET = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
_PASSWORD_NEEDED = (TPM2_RC.BAD_AUTH, TPM2_RC.AUTH_FAIL)


@dataclass(frozen=True, slots=True, eq=False)
class TpmKey:
    """An open TPM. `key` and `index` are handles of `esapi`."""

    where: str
    development: bool
    esapi: ESAPI
    key: ESYS_TR
    index: ESYS_TR
    public_der: bytes

    @property
    def kind(self) -> str:
        return "tpm"

    @property
    def key_id(self) -> bytes:
        return key_id(self.public_der)

    def sign(self, text: bytes) -> bytes:
        """Return the DER signature over sha256 of `text`, after seeing that it verifies.

        Raises:
            KeyFailed: the TPM did not answer, or with a signature of another key.
        """
        digest = hashlib.sha256(text).digest()
        with _told(KeyFailed, self.where, "the checkpoint is not signed"):
            made = bytes(self.esapi.sign(self.key, TPM2B_DIGEST(digest), _OWN_SCHEME, _NOT_A_TICKET))
        try:
            public_key(self.public_der).verify(made, digest, ECDSA(Prehashed(SHA256())))
        except InvalidSignature as error:
            raise KeyFailed(f"{self.where}: the TPM signed with another key; start the recorder again") from error
        return made

    def anchor(self, digest: bytes) -> None:
        """Extend `digest` into the index.

        Raises:
            KeyFailed: the TPM did not answer.
            ValueError: not 32 bytes.
        """
        if len(digest) != _DIGEST_BYTES:
            raise ValueError(f"{len(digest)} bytes cannot be anchored, only {_DIGEST_BYTES}")
        with _told(KeyFailed, self.where, "the checkpoint may not be anchored"):
            self.esapi.nv_extend(self.index, digest)

    def anchored(self) -> bytes:
        """Return the index' value; 32 zero bytes before its first digest, when the TPM itself only gives an error.

        Raises:
            KeyFailed: the TPM did not answer.
        """
        with _told(KeyFailed, self.where, "the anchor is not read"):
            try:
                return bytes(self.esapi.nv_read(self.index, _DIGEST_BYTES))
            except TSS2_Exception as error:
                if error.error == TPM2_RC.NV_UNINITIALIZED:
                    return START
                raise

    def close(self) -> None:
        self.esapi.close()


def open_tpm_key(tcti: str) -> TpmKey:
    """Open the TPM; on its first use make the key and the index. Called once at start.

    Args:
        tcti: as the TPM2 software stack writes it. Everything but `device:` is a TPM in software, for development.

    Raises:
        KeyRefused: no TPM there, it wants a password, or a handle is another program's.
    """
    os.environ.setdefault("TSS2_LOG", "all+none")
    where = tcti.removeprefix(DEVICE)
    with _told(KeyRefused, f"no TPM at {where}", _why_not(tcti)):
        esapi = ESAPI(tcti)
    try:
        with _told(KeyRefused, f"no TPM at {where}", "it does not answer as one"):
            _exists(esapi, KEY_HANDLE)
        with _told(KeyRefused, where, "the device key cannot be made or read"):
            key, index = _key(esapi, where), _index(esapi, where)
            public, *_ = esapi.read_public(key)
    except BaseException:
        esapi.close()
        raise
    public_der = bytes(public.to_der())
    return TpmKey(where, not tcti.startswith(DEVICE), esapi, key, index, public_der)


def _why_not(tcti: str) -> str:
    if not tcti.startswith(DEVICE):
        return "name another in $.recorder.tpm"
    path = tcti.removeprefix(DEVICE)
    if not os.path.exists(path):
        return "there is no such device; switch the TPM on, or set $.recorder.key"
    if not os.access(path, os.R_OK | os.W_OK):
        return "permission denied; install the drop-in recorder-tpm.conf"
    return "it cannot be opened"


def _exists(esapi: ESAPI, handle: int) -> bool:
    _, found = esapi.get_capability(TPM2_CAP.HANDLES, handle, 1)
    return handle in list(found.data.handles)


def _key(esapi: ESAPI, where: str) -> ESYS_TR:
    key = esapi.tr_from_tpmpublic(KEY_HANDLE) if _exists(esapi, KEY_HANDLE) else _made_key(esapi)
    public, *_ = esapi.read_public(key)
    wanted = _key_template()
    public.publicArea.unique.ecc = wanted.publicArea.unique.ecc
    if public.marshal() != wanted.marshal():
        raise KeyRefused(f"{where}: handle {KEY_HANDLE:#x} holds another program's key; evict it or use another TPM")
    return key


def _made_key(esapi: ESAPI) -> ESYS_TR:
    primary, *_ = esapi.create_primary(TPM2B_SENSITIVE_CREATE(), _key_template(), ESYS_TR.OWNER)
    try:
        return esapi.evict_control(ESYS_TR.OWNER, primary, KEY_HANDLE)
    finally:
        esapi.flush_context(primary)


def _key_template() -> TPM2B_PUBLIC:
    template = TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256", objectAttributes=_KEY_ATTRIBUTES)
    template.publicArea.unique.ecc.x = _UNIQUE
    return template


def _index(esapi: ESAPI, where: str) -> ESYS_TR:
    if not _exists(esapi, ANCHOR_INDEX):
        return esapi.nv_define_space(TPM2B_AUTH(), _index_template())
    index = esapi.tr_from_tpmpublic(ANCHOR_INDEX)
    public, _ = esapi.nv_read_public(index)
    public.nvPublic.attributes &= ~TPMA_NV.WRITTEN
    if public.marshal() != _index_template().marshal():
        raise KeyRefused(f"{where}: NV index {ANCHOR_INDEX:#x} is another program's; delete it or use another TPM")
    return index


def _index_template() -> TPM2B_NV_PUBLIC:
    return TPM2B_NV_PUBLIC(
        TPMS_NV_PUBLIC(
            nvIndex=ANCHOR_INDEX, nameAlg=TPM2_ALG.SHA256, attributes=_INDEX_ATTRIBUTES, dataSize=_DIGEST_BYTES
        )
    )


@contextmanager
def _told(kind: type[SigningError], where: str, what: str) -> Iterator[None]:
    """Translate what the TPM2 software stack raises into one line."""
    try:
        yield
    except TSS2_Exception as error:
        asked = kind is KeyRefused and error.error in _PASSWORD_NEEDED
        todo = "; it has an owner password: clear that until the recorder has started once" if asked else ""
        raise kind(f"{where}: {what}{todo} ({error})") from error

"""What every use of a TPM 2.0 here needs: opening it, keys and NV indices that stay, a signature, one line for a fault.

Needs the extra `tpm` (tpm2-pytss). The uses: signing/tpm.py (checkpoints), signing/identity_tpm.py (the device's
identity) and the version floor. Keys are P-256 primaries of the owner hierarchy made persistent:
  - Owner, not endorsement: TPM2_Clear erases owner keys and owner indices together.
  - Persistent: nothing but its first use needs the owner's authority, so a site can set an owner password afterwards.
    An update of the TPM's firmware, which may derive primaries differently, does not change the key.
  - A primary: should the handle be emptied, the same key comes back from the TPM's seed, and no blob lies on disk.
Neither keys nor indices lock out after wrong passwords (another program's must not stop the records). Who may open the
TPM's device may use each of them: which process may is a matter of the unit files.

Nothing transient stays loaded: a TPM has three slots, and /dev/tpmrm0 need not be the way in. Calls release the GIL;
one takes tens to hundreds of ms on a real TPM.
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
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP, TPM2_RC, TPM2_RH, TPM2_ST, TPMA_NV, TPMA_OBJECT
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

from signing.errors import KeyFailed, KeyRefused, SigningError
from signing.public_key import public_key

DEVICE = "device:"
_KEY_ATTRIBUTES = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.USERWITHAUTH
    | TPMA_OBJECT.NODA
    | TPMA_OBJECT.SIGN_ENCRYPT
)
_OWN_SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
_NOT_A_TICKET = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
_PASSWORD_NEEDED = (TPM2_RC.BAD_AUTH, TPM2_RC.AUTH_FAIL)


@dataclass(frozen=True, slots=True)
class Advice:
    """What a refusal tells the person to do, which differs with who uses the TPM."""

    another: str
    missing: str
    denied: str
    until: str


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """An open TPM. Everything but `device:` is a TPM in software, for development."""

    where: str
    development: bool
    esapi: ESAPI
    advice: Advice

    def close(self) -> None:
        self.esapi.close()


def open_chip(tcti: str, advice: Advice) -> Chip:
    """Open the TPM and see that it answers.

    Args:
        tcti: as the TPM2 software stack writes it: `device:/dev/tpmrm0`.

    Raises:
        KeyRefused: no TPM there.
    """
    os.environ.setdefault("TSS2_LOG", "all+none")
    where = tcti.removeprefix(DEVICE)
    with told(KeyRefused, f"no TPM at {where}", _why_not(tcti, advice)):
        esapi = ESAPI(tcti)
    chip = Chip(where, not tcti.startswith(DEVICE), esapi, advice)
    try:
        with told(KeyRefused, f"no TPM at {where}", "it does not answer as one"):
            exists(chip, 0)
    except BaseException:
        chip.close()
        raise
    return chip


def exists(chip: Chip, handle: int) -> bool:
    """Return whether the TPM holds this persistent handle or NV index."""
    _, found = chip.esapi.get_capability(TPM2_CAP.HANDLES, handle, 1)
    return handle in list(found.data.handles)


def key_template(unique: bytes) -> TPM2B_PUBLIC:
    """Return the public template of a P-256 key that signs with ECDSA and SHA-256 and cannot leave its TPM.

    `unique` is part of what the key is derived from: primaries of the same template otherwise are one key.
    """
    template = TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256", objectAttributes=_KEY_ATTRIBUTES)
    template.publicArea.unique.ecc.x = unique
    return template


def persistent_key(chip: Chip, handle: int, unique: bytes) -> ESYS_TR:
    """Return the key at `handle`; made there if the handle is empty.

    Raises:
        KeyRefused: the handle holds another program's key.
        TSS2_Exception: to be translated with `told`.
    """
    key = chip.esapi.tr_from_tpmpublic(handle) if exists(chip, handle) else _made_key(chip.esapi, handle, unique)
    public, *_ = chip.esapi.read_public(key)
    wanted = key_template(unique)
    public.publicArea.unique.ecc = wanted.publicArea.unique.ecc
    if public.marshal() != wanted.marshal():
        raise KeyRefused(f"{chip.where}: handle {handle:#x} holds another program's key; evict it or use another TPM")
    return key


def public_der(chip: Chip, key: ESYS_TR) -> bytes:
    """Return the SubjectPublicKeyInfo of a loaded key."""
    public, *_ = chip.esapi.read_public(key)
    return bytes(public.to_der())


def signature(chip: Chip, key: ESYS_TR, public: bytes, text: bytes, lost: str) -> bytes:
    """Return the DER signature over sha256 of `text`, after seeing that it verifies with `public`.

    Raises:
        KeyFailed: the TPM did not answer, or with a signature of another key; `lost` says what is not done now.
    """
    digest = hashlib.sha256(text).digest()
    with told(KeyFailed, chip.where, lost):
        made = bytes(chip.esapi.sign(key, TPM2B_DIGEST(digest), _OWN_SCHEME, _NOT_A_TICKET))
    try:
        public_key(public).verify(made, digest, ECDSA(Prehashed(SHA256())))
    except InvalidSignature as error:
        raise KeyFailed(f"{chip.where}: the TPM signed with another key; start {chip.advice.until} again") from error
    return made


def nv_template(index: int, attributes: TPMA_NV, size: int) -> TPM2B_NV_PUBLIC:
    """Return the public area of an NV index of `size` bytes."""
    return TPM2B_NV_PUBLIC(TPMS_NV_PUBLIC(nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=size))


def nv_index(chip: Chip, index: int, attributes: TPMA_NV, size: int) -> ESYS_TR:
    """Return the NV index; defined on its first use, without a password.

    Raises:
        KeyRefused: it is another program's.
        TSS2_Exception: to be translated with `told`.
    """
    wanted = nv_template(index, attributes, size)
    if not exists(chip, index):
        return chip.esapi.nv_define_space(TPM2B_AUTH(), wanted)
    found = chip.esapi.tr_from_tpmpublic(index)
    public, _ = chip.esapi.nv_read_public(found)
    public.nvPublic.attributes &= ~TPMA_NV.WRITTEN
    if public.marshal() != wanted.marshal():
        raise KeyRefused(f"{chip.where}: NV index {index:#x} is another program's; delete it or use another TPM")
    return found


@contextmanager
def told(kind: type[SigningError], where: str, what: str, until: str = "") -> Iterator[None]:
    """Translate what the TPM2 software stack raises into one line.

    `until` names who needs the owner's authority once, where a missing password is a reason.
    """
    try:
        yield
    except TSS2_Exception as error:
        asked = until and error.error in _PASSWORD_NEEDED
        todo = f"; it has an owner password: clear that until {until} has started once" if asked else ""
        raise kind(f"{where}: {what}{todo} ({error})") from error


def _why_not(tcti: str, advice: Advice) -> str:
    if not tcti.startswith(DEVICE):
        return advice.another
    path = tcti.removeprefix(DEVICE)
    if not os.path.exists(path):
        return f"there is no such device; {advice.missing}"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"permission denied; {advice.denied}"
    return "it cannot be opened"


def _made_key(esapi: ESAPI, handle: int, unique: bytes) -> ESYS_TR:
    primary, *_ = esapi.create_primary(TPM2B_SENSITIVE_CREATE(), key_template(unique), ESYS_TR.OWNER)
    try:
        return esapi.evict_control(ESYS_TR.OWNER, primary, handle)
    finally:
        esapi.flush_context(primary)

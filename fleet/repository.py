"""The publishers' side of TUF: drafts, signatures one person at a time, publication, keys that change, sticks.

Every change goes to a draft of the role's next version, which clears the signatures that draft had: people sign what
will be published. `publish` moves the drafts once each role has its threshold; snapshot and timestamp are signed by the
online key there and then. Devices read `public/` through signing/freshness.py; the layout is in
docs/interfaces/repository-format-1.md.

Called by `linewarden-fleet`; `now` is UTC everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec
from securesystemslib.signer import Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, TargetFile, Targets

from fleet.errors import NotDone
from fleet.repository_files import Files, text_of
from fleet.repository_online import Online, check_online, issue
from fleet.repository_plan import (
    BUNDLES,
    DELEGATED,
    TOP,
    Keyholder,
    Lifetimes,
    Plan,
    bin_delegations,
    bins_of,
    first_delegations,
    first_root,
    location,
    name_of,
    replace_key,
    role_of,
    told,
)
from signing.floor import Versions
from signing.index import Index, IndexInvalid, Kind, read_index
from signing.permission import REVOKED_PATH

Draft = Metadata[Root] | Metadata[Targets]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a draft still needs: so many signatures, of these people. `signed` have given theirs."""

    role: str
    version: int
    needed: int
    people: tuple[str, ...]
    signed: tuple[str, ...]

    def text(self) -> str:
        return f"{self.role} {self.version} needs {self.needed} more of {', '.join(self.people)}"


@dataclass(frozen=True, slots=True)
class RepositoryBuilder:
    """One repository in `folder`: `public/` and `staging/`."""

    folder: Path
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    @property
    def files(self) -> Files:
        return Files(self.folder)

    @property
    def public(self) -> Path:
        """The folder that devices, mirrors and web servers read."""
        return self.files.public

    def init(self, plan: Plan, now: datetime) -> None:
        """Stage the first version of every role.

        Raises:
            NotDone: there is a repository already, or the plan has too few people.
        """
        if self.files.timestamp() or self.files.draft_names():
            raise NotDone(f"{self.folder}: there is a repository already; choose another folder")
        root = first_root(plan, Root(version=1, expires=self._end("root", now), consistent_snapshot=True))
        self.files.write_draft("root", Metadata(root))
        expires = self._end(TOP, now)
        roles = {TOP: first_delegations(plan), **dict.fromkeys(DELEGATED), BUNDLES: bin_delegations(plan)}
        for role, delegations in roles.items():
            self.files.write_draft(role, Metadata(Targets(version=1, expires=expires, delegations=delegations)))
        bins = bins_of(self._role(BUNDLES).signed)
        for role in bins.get_roles() if bins else ():
            self.files.write_draft(role, Metadata(Targets(version=1, expires=expires)))

    def published_root(self) -> Metadata[Root]:
        """Raise NotDone where nothing is published yet."""
        root = self.files.root()
        if root is None:
            raise NotDone(f"{self.folder}: nothing is published yet; publish first")
        return root

    def root_bytes(self) -> bytes:
        """Return the newest published root: what a device is given at enrolment."""
        return text_of(self.published_root())

    def versions(self) -> Versions:
        """Return the published versions: the floor a device is given at enrolment."""
        root, timestamp = self.published_root(), self.files.timestamp()
        assert timestamp is not None
        return Versions(root.signed.version, timestamp.signed.version, timestamp.signed.snapshot_meta.version)

    def documents(self) -> dict[str, str]:
        """Return sha256 by path of every document, drafts included (hash bins too)."""
        roles = [self._role(role) for role in self._roles()]
        return {path: file.hashes["sha256"] for role in roles for path, file in role.signed.targets.items()}

    def read_document(self, path: str) -> bytes | None:
        """Return a document as it is, or will be once its draft is published; None where there is none."""
        file = self._role(self.role_for(path)).signed.targets.get(path)
        return self.read_target(file) if file else None

    def read_target(self, file: TargetFile) -> bytes:
        """Return the bytes of a target that a role or its draft lists.

        Raises:
            RepositoryUnusable: they are not there.
        """
        where = self.public / _location(file)
        with told(where):
            return where.read_bytes()

    def set_document(self, path: str, raw: bytes, now: datetime) -> None:
        """Stage a document at `path` (`trust.json`, `allowlists/revoked.json`).

        Raises:
            NotDone: no role signs that path.
        """
        self.set_documents({path: raw}, now)

    def set_documents(self, documents: Mapping[str, bytes], now: datetime) -> None:
        """Stage several documents; one draft a role."""
        targets: dict[str, dict[str, TargetFile]] = {}
        for path, raw in documents.items():
            role, file = self.role_for(path), TargetFile.from_data(path, raw, ["sha256"])
            self.files.write_target(_location(file), raw)
            targets.setdefault(role, {})[path] = file
        for role, files in targets.items():
            self._edit(role, now, partial(_add, files))

    def add_index(self, kind: Kind, directory: Path, name: str, version: str, now: datetime) -> Index:
        """Copy a signed directory's files to `public/blobs` and stage its index.

        Raises:
            NotDone: a link or special file in it, no document, or a name or size that devices refuse.
        """
        names = [path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if not path.is_dir()]
        if kind.document not in names:
            raise NotDone(f"{directory}: no {kind.document} in it; build the {kind} first")
        blobs = {file: self.files.add_blob(directory / file) for file in names}
        made = Index("index", 1, kind, name, version, blobs[kind.document].sha256, blobs)
        raw = msgspec.json.format(msgspec.json.encode(made), indent=1)
        try:
            index = read_index(raw, kind, made.digest)
        except IndexInvalid as error:
            raise NotDone(f"{directory}: {error}; devices would refuse it, correct the directory") from error
        self.set_document(kind.target(index.digest), raw, now)
        return index

    def remove(self, path: str, now: datetime) -> None:
        """Stage the removal of a document.

        Raises:
            NotDone: it is not there.
        """
        role = self.role_for(path)
        if path not in self._role(role).signed.targets:
            raise NotDone(f"{path}: not in the repository")
        self._edit(role, now, lambda signed: signed.targets.pop(path))

    def revoke(self, kind: Kind, digest: str, revoked: bytes, now: datetime) -> None:
        """Stage the removal of a bundle or recipe together with the new `allowlists/revoked.json` that says why."""
        self.remove(kind.target(digest), now)
        self.set_document(REVOKED_PATH, revoked, now)

    def renew(self, role: str, now: datetime) -> None:
        """Stage a role unchanged but for its expiry."""
        if role == "root":
            self._edit_root(now, lambda root: None)
        else:
            self._edit(role, now, lambda signed: None)

    def rotate_root(self, old: str, new: Keyholder, now: datetime) -> None:
        """Stage a root in which `new` stands wherever the key id `old` stood; roles that key signed are staged too.

        The new root needs two signatures of the old root's people and two of the new one's.

        Raises:
            NotDone: root does not name that key.
        """
        top = old in self._root().signed.roles[TOP].keyids

        def edit(root: Root) -> None:
            if not replace_key(root.keys, [role.keyids for role in root.roles.values()], old, new):
                raise NotDone(f"{old[:12]}: root names no such key")

        self._edit_root(now, edit)
        if top:
            self.renew(TOP, now)

    def replace_person(self, old: str, new: Keyholder, now: datetime) -> None:
        """Stage delegations in which `new` stands wherever the key id `old` stood, and every role that key signed.

        Raises:
            NotDone: no delegation names that key.
        """
        signed = [role for role in self._roles() if role != TOP and old in self._signers(role)]
        if not signed:
            raise NotDone(f"{old[:12]}: no delegation names such a key")
        self._edit(TOP, now, partial(_replaced, old, new))
        if bins_of(self._role(BUNDLES).signed):
            self._edit(BUNDLES, now, partial(_replaced, old, new))
        for role in signed:
            self.renew(role, now)

    def sign(self, signer: Signer) -> list[str]:
        """Add one person's signature to every draft that may carry it, and return those roles.

        Raises:
            NotDone: the key has no part in any draft, or could not sign.
        """
        roles = [name for name in self.files.draft_names() if signer.public_key.keyid in self.may_sign(name)]
        if not roles:
            raise NotDone(f"{name_of(signer.public_key)}: nothing staged needs this key's signature")
        for role in roles:
            draft = self._draft(role)
            try:
                draft.sign(signer, append=True)
            except UnsignedMetadataError as error:
                raise NotDone(f"{role}: not signed, {error.__cause__ or error}; check the token and its PIN") from error
            self.files.write_draft(role, draft)
        return roles

    def may_sign(self, role: str) -> set[str]:
        """Return the ids of the keys whose signature a role's draft may carry."""
        return {keyid for delegator in self._delegators(role) for keyid in delegator.get_delegated_role(role).keyids}

    def waiting(self) -> list[Waiting]:
        """Return what is staged and lacks signatures, role by role; empty when `publish` may go on."""
        found = [self._waiting(role) for role in self.files.draft_names()]
        return [waiting for waiting in found if waiting.needed]

    def publish(self, online: Online, now: datetime) -> Versions:
        """Make every draft public, timestamp last.

        Raises:
            NotDone: nothing is staged, a signature is missing (the text names people), or `online` is another key.
        """
        drafts = self.files.draft_names()
        if not drafts:
            raise NotDone(f"{self.folder}: nothing is staged; stage a change, or sign the timestamp again")
        if waiting := self.waiting():
            more = f" (and {len(waiting) - 3} more)" if len(waiting) > 3 else ""
            raise NotDone(f"not published: {'; '.join(each.text() for each in waiting[:3])}{more}")
        check_online(self._root().signed, online)
        meta: dict[str, MetaFile] = {}
        for role in drafts:
            if role != "root":
                draft = self._draft(role)
                data = text_of(draft)
                self.files.write_metadata(f"{draft.signed.version}.{role}.json", data)
                meta[f"{role}.json"] = self._meta_file(role, draft.signed.version, data)
        issue(self.files, self._root(), meta, online, self.lifetimes, now)
        self.files.clear()
        return self.versions()

    def resign(self, online: Online, now: datetime) -> Versions:
        """Sign the timestamp again before it expires; nothing else changes.

        Raises:
            NotDone: nothing is published, or `online` is another key.
        """
        self.versions()
        issue(self.files, self.published_root(), {}, online, self.lifetimes, now)
        return self.versions()

    def _meta_file(self, role: str, version: int, data: bytes) -> MetaFile:
        """Return what snapshot says of a role: of hash bins the version alone, for there may be thousands."""
        if role in (TOP, *DELEGATED):
            return MetaFile.from_data(version, data, ["sha256"])
        return MetaFile(version)

    def _waiting(self, role: str) -> Waiting:
        draft = self._draft(role)
        signed: dict[str, str] = {}
        people: dict[str, str] = {}
        needed = 0
        for delegator in self._delegators(role):
            result = delegator.get_verification_result(role, draft.signed_bytes, draft.signatures)
            needed = max(needed, result.missing)
            signed |= {keyid: name_of(key) for keyid, key in result.signed.items()}
            people |= {keyid: name_of(key) for keyid, key in result.unsigned.items()}
        return Waiting(role, draft.signed.version, needed, tuple(people.values()), tuple(signed.values()))

    def _delegators(self, role: str) -> list[Root | Targets]:
        """Return who says who signs `role`: the new root and the old one for root, else one."""
        if role == "root":
            published = self.files.root()
            return [self._root().signed, *([published.signed] if published else [])]
        if role == TOP:
            return [self._root().signed]
        return [self._role(TOP if role in DELEGATED else BUNDLES).signed]

    def _signers(self, role: str) -> list[str]:
        return self._delegators(role)[0].get_delegated_role(role).keyids

    def _roles(self) -> list[str]:
        bins = bins_of(self._role(BUNDLES).signed)
        return [TOP, *DELEGATED, *(bins.get_roles() if bins else ())]

    def role_for(self, path: str) -> str:
        """Return the role that signs this path, the hash bin where there are bins."""
        role = role_of(path)
        bins = bins_of(self._role(BUNDLES).signed) if role == BUNDLES else None
        return bins.get_role_for_target(path) if bins else role

    def _draft(self, role: str) -> Draft:
        draft = self.files.root_draft() if role == "root" else self.files.draft(role)
        assert draft is not None, role
        return draft

    def _root(self) -> Metadata[Root]:
        root = self.files.root_draft() or self.files.root()
        if root is None:
            raise NotDone(f"{self.folder}: no repository here; run init first")
        return root

    def _role(self, role: str) -> Metadata[Targets]:
        found = self.files.draft(role) or self.files.role(role)
        if found is None:
            raise NotDone(f"{self.folder}: no role {role} here; run init first")
        return found

    def _edit_root(self, now: datetime, change: Callable[[Root], object]) -> None:
        metadata = self._root()
        change(metadata.signed)
        metadata.signed.expires = self._end("root", now)
        metadata.signatures.clear()
        self.files.write_draft("root", metadata)

    def _edit(self, role: str, now: datetime, change: Callable[[Targets], object]) -> None:
        metadata = self._role(role)
        change(metadata.signed)
        metadata.signed.expires = self._end(role, now)
        metadata.signatures.clear()
        self.files.write_draft(role, metadata)

    def _end(self, role: str, now: datetime) -> datetime:
        whole = now.replace(microsecond=0)
        return whole + (self.lifetimes.root if role == "root" else self.lifetimes.people)


def _location(file: TargetFile) -> str:
    return location(file.path, file.hashes["sha256"])


def _add(files: Mapping[str, TargetFile], targets: Targets) -> None:
    targets.targets.update(files)


def _replaced(old: str, new: Keyholder, targets: Targets) -> None:
    """Put the new key into every role this one delegates to."""
    delegations = targets.delegations
    if delegations is not None:
        bins = [delegations.succinct_roles.keyids] if delegations.succinct_roles else []
        replace_key(delegations.keys, [*(role.keyids for role in (delegations.roles or {}).values()), *bins], old, new)

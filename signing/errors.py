"""What can be wrong with a bundle, a recipe, a trust store or the device key, named by what the caller must do.

Every message is one line: what is wrong, where, what to do. No caller loads anything after one of these.
"""


class SigningError(Exception):
    """Root of everything this folder raises."""


class TrustStoreError(SigningError):
    """The trust store cannot be used: install the keys again."""


class DevelopmentKeyRefused(TrustStoreError):
    """Development keys in production mode: install the production trust store."""


class DirectoryRefused(SigningError):
    """The directory holds what it must not, or lacks what it must hold: deliver it again."""


class SignatureInvalid(SigningError):
    """The two people's signatures do not cover this document: have it signed by both."""


class DocumentInvalid(SigningError):
    """The document is signed and still not acceptable in this format: build it again."""


class DigestMismatch(SigningError):
    """A file is not the one the document names: deliver the directory again."""


class GraphRefused(SigningError):
    """A model graph is outside what this device executes: export it again."""


class KeyRefused(SigningError):
    """The device key cannot be used as configured: do what the text says, nothing is signed until then."""


class KeyFailed(SigningError):
    """The device key was open and did not answer: whether the last digest was anchored is unknown; open it again."""

"""Section `dkim`: which signatures a message gets, in the layout of the model's dkim_sign helper (`dkim_data.toml`)."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import DomainText, Duration, FilePath, HeaderName
from kumotwist.config.keys import KeySource


class Canonicalization(Enum):
    """How much of a message may change on its way."""

    RELAXED = "Relaxed"  # blanks may come, go and be folded
    SIMPLE = "Simple"  # hardly anything

    @property
    def word(self) -> str:
        """As it stands in a signature."""
        return self.value.lower()


class Algorithm(Enum):
    """Of which kind a key must be."""

    SHA256 = "sha256"  # RSA
    ED25519 = "ed25519"


class SigningPolicy(Enum):
    """When a domain's mail is signed."""

    ALWAYS = "Always"


class AdditionalPolicy(Enum):
    """When an additional signature is made."""

    ALWAYS = "Always"
    ONLY_IF_MISSING_DOMAIN_BLOCK = "OnlyIfMissingDomainBlock"  # where the domain has none of its own


class KeyFailure(Enum):
    """What becomes of a message whose key is missing, unreadable, or not of the kind that was named."""

    REFUSE = "Refuse"  # 451: whoever sends it tries again
    SEND_UNSIGNED = "SendUnsigned"  # without that signature, and the log says so


Selector = Annotated[str, Meta(extra={"kind": "selector"})]
Identity = Annotated[str, Meta(extra={"kind": "dkim_identity"})]
AtpsHash = Annotated[str, Meta(extra={"kind": "choice", "of": ("none", "sha1", "sha256")})]
Conformance = Annotated[str, Meta(extra={"kind": "conformance"})]
Expiration = Annotated[float, Meta(ge=1, extra={"kind": "duration"})]

KEY_DIRECTORY = "/opt/kumomta/etc/dkim"  # the model's

# What is signed where nobody says it: what readers see, and what says how the content is to be read (RFC 6376 section 5.4.1).
HEADERS = (
    "From", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding", "In-Reply-To", "References", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post",
)  # fmt: skip

# What `check_fix_conformance` can repair, by the model's names.
CONFORMANCE = (
    "MISSING_COLON_VALUE", "NON_CANONICAL_LINE_ENDINGS", "NAME_ENDS_WITH_SPACE", "LINE_TOO_LONG", "NEEDS_TRANSFER_ENCODING",
    "MISSING_DATE_HEADER", "MISSING_MESSAGE_ID_HEADER", "MISSING_MIME_VERSION", "INVALID_MIME_HEADERS",
)  # fmt: skip


class DkimBase(Struct, frozen=True, kw_only=True):
    """
    `base`: what holds where an entry says nothing.

    additional_signatures: names of `signature`, in the order in which they are made.  key_directory: where DOMAIN/SELECTOR.key
    lies if an entry names no key.  key_ttl: seconds that a key is kept before it is read again.  fix_conformance: what is
    repaired before anything is signed, flags of `check_fix_conformance` with `|` between them.
    """

    selector: Selector | None = None
    headers: tuple[HeaderName, ...] = ()
    expiration: Expiration | None = None
    header_canonicalization: Canonicalization | None = None
    body_canonicalization: Canonicalization | None = None
    over_sign: bool | None = None
    policy: SigningPolicy = SigningPolicy.ALWAYS
    additional_signatures: tuple[str, ...] = ()
    vault_mount: str | None = None
    vault_path_prefix: str | None = None
    on_key_failure: KeyFailure = KeyFailure.REFUSE
    key_directory: FilePath = KEY_DIRECTORY
    key_ttl: Duration = 300.0
    fix_conformance: Conformance = ""


class SignedAs(Struct, frozen=True, kw_only=True):
    """
    What entries of `domain` and `signature` have in common.

    key: instead of `filename`, where it is not in a file.  algo: None: as the key is.
    """

    selector: Selector | None = None
    headers: tuple[HeaderName, ...] = ()
    algo: Algorithm | None = None
    expiration: Expiration | None = None
    filename: FilePath | None = None
    key: KeySource | None = None
    header_canonicalization: Canonicalization | None = None
    body_canonicalization: Canonicalization | None = None
    over_sign: bool | None = None
    atps: DomainText | None = None
    atpsh: AtpsHash = "none"
    agent_user_identifier: Identity | None = None
    body_length: bool = False
    reporting: bool = False
    on_key_failure: KeyFailure | None = None


class DkimDomain(SignedAs, frozen=True, kw_only=True):
    """One entry of `domain`."""

    policy: SigningPolicy | None = None


class DkimSignature(SignedAs, frozen=True, kw_only=True):
    """One entry of `signature`: for a domain that is named.  domain: never missing in a valid configuration."""

    domain: DomainText = ""
    policy: AdditionalPolicy = AdditionalPolicy.ALWAYS


class DkimSettings(Struct, frozen=True, kw_only=True):
    """Section `dkim`.  domain: by the domain of From, in lower case, or `*.domain`, or `*`."""

    base: DkimBase = DkimBase()
    domain: Mapping[str, DkimDomain] = {}
    signature: Mapping[str, DkimSignature] = {}

    def __bool__(self) -> bool:
        """Whether any message is signed."""
        return bool(self.domain) or bool(self.base.additional_signatures)


NO_DKIM = DkimSettings()


class DkimSigner(Struct, frozen=True, kw_only=True):
    """One signature as a policy describes it; `kumo.dkim.rsa_sha256_signer`."""

    domain: DomainText
    selector: Selector
    headers: tuple[HeaderName, ...]
    key: KeySource
    header_canonicalization: Canonicalization = Canonicalization.RELAXED
    body_canonicalization: Canonicalization = Canonicalization.RELAXED
    expiration: Expiration | None = None
    over_sign: bool = False
    ttl: Duration = 300.0
    atps: DomainText | None = None
    atpsh: AtpsHash = "none"
    agent_user_identifier: Identity | None = None
    body_length: bool = False
    reporting: bool = False
    on_key_failure: KeyFailure = KeyFailure.REFUSE


def is_under(identity: str, domain: str) -> bool:
    """Whether `i=` may stand beside `d=` (RFC 6376 section 3.5)."""
    under = identity.rpartition("@")[2]
    return under == domain or under.endswith(f".{domain}")

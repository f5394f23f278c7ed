"""One entry of the suppression list: an address or a domain that gets no more mail, of one tenant or of everybody."""

from hashlib import blake2b

import msgspec
from msgspec import Struct

from kumotwist.mail.address import Mailbox, parse_domain, parse_mailbox
from kumotwist.mail.reply import INTERNAL, Reply, reply

SHELF = "suppressed/"  # what the keys of all entries on the spool's shelf begin with
LONGEST_REASON = 500  # characters
_ID_OCTETS = 16

NO_TENANT = ""  # the tenant of mail that has none


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """
    As the shelf keeps it.  New fields go to the end, with a default.

    subject: an address, or a domain; in lower case.  tenant: for whose mail it holds; None: everybody's.
    created, expires: epoch seconds; expires None: it stays until it is cancelled.
    cause: the id of the message that it was made for; empty: somebody made it.
    """

    subject: str
    tenant: str | None
    reason: str
    created: float
    expires: float | None = None
    cause: str = ""

    @property
    def id(self) -> str:
        """The same for the same subject and tenant: 32 hex digits."""
        return id_of(self.subject, self.tenant)

    @property
    def key(self) -> str:
        """Its place on the shelf."""
        return SHELF + self.id

    @property
    def is_domain(self) -> bool:
        return "@" not in self.subject


class Suppressed(Struct, frozen=True, gc=False):
    """Why a recipient gets nothing: what the entry is about, and for whose mail it holds (None: everybody's)."""

    subject: str
    tenant: str | None
    reason: str

    @property
    def refusal(self) -> Reply:
        """What a client is told: nothing that is only the operator's business."""
        return reply(f"550 5.1.1 {self.subject} is suppressed")

    @property
    def bounce(self) -> Reply:
        """What the record of a message says that was ours already."""
        what = f"{'address' if '@' in self.subject else 'domain'} {self.subject}"
        whose = "" if self.tenant is None else f" for tenant {self.tenant}" if self.tenant else " for mail without a tenant"
        return Reply(550, _SUPPRESSED, f"{INTERNAL}recipient is suppressed: {what}{whose}: {self.reason}")


_SUPPRESSED = reply("550 5.1.1 x").enhanced
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def stored_entry(entry: Entry) -> bytes:
    return _encode(entry)


def restored_entry(octets: bytes) -> Entry:
    """Raises msgspec.DecodeError, and its ValidationError, where the octets are none of ours."""
    return _decode(octets)


def id_of(subject: str, tenant: str | None) -> str:
    whose = "*" if tenant is None else f"={tenant}"
    return blake2b(f"{subject}\0{whose}".encode("utf-8", "surrogatepass"), digest_size=_ID_OCTETS).hexdigest()


def address_subject(recipient: Mailbox) -> str:
    """
    The address as entries name it: without quotes, in lower case.

    RFC 5321 section 2.4 leaves the case of a local part to its host; there is hardly one left where it matters, and who does
    not want mail does not want it in capitals either.
    """
    return f"{recipient.user}@{recipient.domain}".lower() if recipient.domain else recipient.user.lower()


def parse_subject(text: str, *, domain: bool = False) -> str:
    """What an entry is about, of what somebody wrote: an address, or a domain.  Raises BadAddress."""
    return parse_domain(text) if domain else address_subject(parse_mailbox(text))

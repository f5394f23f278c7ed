"""What a peer cannot take, found before anything is sent.  Nothing is converted: that would break signatures.  Pure."""

from kumotwist.config.egress import PathSettings
from kumotwist.mail.message import Message
from kumotwist.mail.reply import INTERNAL, EnhancedCode, Reply
from kumotwist.smtp.client_session import Capabilities

_NO_EIGHT_BIT = Reply(554, EnhancedCode(5, 6, 3), f"{INTERNAL}DATA is 8bit, and the destination does not offer 8BITMIME")
_NO_UTF8 = Reply(554, EnhancedCode(5, 6, 7), f"{INTERNAL}envelope is 8bit, and the destination does not offer SMTPUTF8")


def needs_utf8(message: Message) -> bool:
    """Whether an address of the envelope can only be said under SMTPUTF8 (RFC 6531 section 3.4); domains are A-labels."""
    if not message.sender.local.isascii():
        return True
    return any(not recipient.local.isascii() for recipient in message.recipients)


def objection(content: bytes, *, eight_bit: bool, utf8: bool, offered: Capabilities, settings: PathSettings) -> Reply | None:
    """
    The reply that a message bounces with unsent; None: the peer takes its kind.

    eight_bit, utf8: what content and envelope need.  `ignore_8bit_checks` sends all the same; a size limit always holds.
    """
    if offered.size and len(content) > offered.size:
        text = f"{INTERNAL}message of {len(content)} octets is larger than the {offered.size} that the destination takes"
        return Reply(552, EnhancedCode(5, 3, 4), text)
    if settings.ignore_8bit_checks:
        return None
    if utf8 and not offered.smtputf8:
        return _NO_UTF8
    if eight_bit and not offered.eight_bit_mime:
        return _NO_EIGHT_BIT
    return None

"""
The grammar of commands: one line → one command, or the reply that says what is wrong with it.

RFC 5321 section 4.1.2, RFC 1870 (SIZE), RFC 3030 (BDAT), RFC 4954 (AUTH), RFC 6152 (BODY), RFC 6531 (SMTPUTF8).  Verbs and
keywords in any case; arguments separated by blanks or tabs.  More tolerant than the RFC where the model is: addresses may
stand without brackets, blanks may follow the colon, non-ASCII needs no SMTPUTF8.
"""

import re
from collections.abc import Callable

from kumotwist.mail.address import NULL_SENDER, BadAddress, Mailbox, parse_domain, parse_mailbox
from kumotwist.mail.reply import Reply, reply
from kumotwist.smtp.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Helo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Unsupported,
    Vrfy,
    XClient,
)

NO_VERB = reply(
    "501 Syntax error in command or arguments: expected a verb of letters and digits, then nothing, or a blank and arguments"
)
BAD_ARGUMENTS = reply("501 Syntax error in command or arguments")
BAD_UTF8 = reply("501 5.5.2 Invalid UTF-8 in command")
BAD_SENDER = reply("501 5.1.7 Bad sender's mailbox address syntax")
BAD_RECIPIENT = reply("501 5.1.3 Invalid recipient address syntax")
BAD_CHUNK = reply(
    "501 5.5.4 BDAT takes the number of octets, then nothing or LAST; closing, since what follows cannot be told apart"
)

_BLANKS = " \t"
_MOST_SIZE_DIGITS = 20  # RFC 1870 section 4, RFC 3030 section 2
_MOST_SHOWN = 64  # characters of a peer's word in our reply, which must be a short line

# A path may hold a quoted local part, and that a ">":  Path = "<" [ A-d-l ":" ] Mailbox ">"
_QUOTED_PATH = re.compile(r'<((?:[^">]|"(?:[^"\\]|\\.)*")*)>')
_QUOTED_BARE = re.compile(r'((?:[^" \t]|"(?:[^"\\]|\\.)*")*)')
# String = Atom / Quoted-string; we take any printable word, since people ask VRFY for whole addresses.
_ONE_STRING = re.compile(r'(?:[^\s"\x00-\x1f\x7f]+|"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*")\Z')
# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-");  esmtp-value = 1*(%d33-60 / %d62-126 / UTF8-non-ascii)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+))?\Z")
# RFC 4422 section 3.1: sasl-mech
_MECHANISM = re.compile(r"[A-Za-z0-9\-_]{1,20}\Z")
# RFC 3461 section 4: xtext, without its limit to printable characters, since what it stands for is looked at
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+\Z")
_XCHAR = re.compile(rb"\+([0-9A-F]{2})")


def parse_command(line: bytes) -> Command | Reply:
    """The command that a line (without its CRLF) holds; a Reply if it holds none."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return BAD_UTF8
    verb, blank, arguments = text.partition(" ")
    if "\t" in verb:
        verb, blank, arguments = text.partition("\t")
    if blank:
        arguments = arguments.strip(_BLANKS)
        if not arguments:
            return NO_VERB
    parse = _ARGUMENTS.get(verb)
    if parse is None:
        if not (verb.isascii() and verb.isalnum()):  # asked before upper(), which makes ASCII of some other letters
            return NO_VERB
        verb = verb.upper()
        parse = _ARGUMENTS.get(verb)
    return parse(arguments) if parse is not None else _unsupported(verb, arguments)


def _mail(arguments: str) -> Command | Reply:
    if arguments[:5].upper() != "FROM:":
        return BAD_ARGUMENTS
    path = _path(arguments[5:].lstrip(_BLANKS))
    if path is None:
        return BAD_SENDER
    address, rest = path
    try:
        sender = parse_mailbox(_after_route(address)) if address else NULL_SENDER
    except BadAddress:
        return BAD_SENDER
    if not sender.domain and address:  # <Postmaster> is a recipient only: RFC 5321 section 4.1.1.3
        return BAD_SENDER
    return Mail(sender) if not rest else _with_parameters(sender, rest)


def _rcpt(arguments: str) -> Command | Reply:
    if arguments[:3].upper() != "TO:":
        return BAD_ARGUMENTS
    path = _path(arguments[3:].lstrip(_BLANKS))
    if path is None:
        return BAD_RECIPIENT
    address, rest = path
    try:
        recipient = parse_mailbox(_after_route(address))
    except BadAddress:
        return BAD_RECIPIENT
    if not rest:
        return Rcpt(recipient)
    if not _are_parameters(rest):
        return BAD_ARGUMENTS
    return _not_recognized(rest.split()[0].partition("=")[0].upper())  # we offer no extension that gives RCPT one


def _path(text: str) -> tuple[str, str] | None:
    """The address and what follows it; None where there is no address or no end of it."""
    if text.startswith("<"):
        address, bracket, rest = text[1:].partition(">")
        if '"' not in address:
            return (address, rest) if bracket else None
        found = _QUOTED_PATH.match(text)
        return (found[1], text[found.end() :]) if found else None
    found = _QUOTED_BARE.match(text)
    return (found[1], text[found.end() :]) if found and found[1] else None


def _after_route(address: str) -> str:
    """RFC 5321 appendix C: a source route is accepted and dropped.  Raises BadAddress."""
    if not address.startswith("@"):
        return address
    route, colon, address = address.partition(":")
    hops = route.split(",")
    if not colon or not all(hop.startswith("@") for hop in hops):
        raise BadAddress("not a source route")
    for hop in hops:
        parse_domain(hop[1:])
    return address


def _are_parameters(rest: str) -> bool:
    """Whether what follows an address can be parameters at all, known or not."""
    return rest[0] in _BLANKS and all(map(_PARAMETER.match, rest.replace("\t", " ").split()))


def _with_parameters(sender: Mailbox, rest: str) -> Mail | Reply:
    """RFC 5321 section 4.1.1.11: what is not recognized is 555, what is recognized and wrong is 501."""
    if rest.startswith(" SIZE=") and _is_number(rest[6:]):
        return Mail(sender, int(rest[6:]))  # what nearly all clients say
    if not _are_parameters(rest):
        return BAD_ARGUMENTS
    given: dict[str, str | None] = {}
    for word in rest.replace("\t", " ").split():
        keyword, equals, value = word.partition("=")
        keyword = keyword.upper()
        if keyword in given:
            return BAD_ARGUMENTS
        if keyword == "AUTH" and value:
            continue  # RFC 4954 section 5: who vouches for the sender elsewhere, which means nothing here
        if keyword not in ("SIZE", "BODY", "SMTPUTF8"):
            return _not_recognized(keyword)
        given[keyword] = value if equals else None
    return _known_parameters(sender, given)


def _known_parameters(sender: Mailbox, given: dict[str, str | None]) -> Mail | Reply:
    size = given.get("SIZE", "0")
    body = given.get("BODY", "7BIT")
    if size is None or body is None or not _is_number(size) or given.get("SMTPUTF8") is not None:
        return BAD_ARGUMENTS
    if body.upper() not in ("7BIT", "8BITMIME"):  # BINARYMIME needs an extension that we do not offer
        return _not_recognized(f"BODY={body}")
    return Mail(sender, int(size) if "SIZE" in given else None, body.upper() == "8BITMIME", "SMTPUTF8" in given)


def _not_recognized(what: str) -> Reply:
    shown = what if what.isascii() and len(what) <= _MOST_SHOWN else what.partition("=")[0][:_MOST_SHOWN]
    return reply(f"555 5.5.4 parameter {shown} not recognized or not implemented")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_SIZE_DIGITS


def _bdat(arguments: str) -> Command | Reply:
    words = arguments.replace("\t", " ").split()
    if not 1 <= len(words) <= 2 or not _is_number(words[0]) or (len(words) == 2 and words[1].lower() != "last"):
        return BAD_CHUNK
    return Bdat(int(words[0]), len(words) == 2)


def _ehlo(arguments: str) -> Command | Reply:
    try:
        return Ehlo(parse_domain(arguments))
    except BadAddress:
        return BAD_ARGUMENTS


def _helo(arguments: str) -> Command | Reply:
    try:
        return Helo(parse_domain(arguments))
    except BadAddress:
        return BAD_ARGUMENTS


def _auth(arguments: str) -> Command | Reply:
    words = arguments.replace("\t", " ").split()
    if not 1 <= len(words) <= 2 or not _MECHANISM.match(words[0]):
        return BAD_ARGUMENTS
    return Auth(words[0].upper(), words[1] if len(words) == 2 else None)


def _xclient(arguments: str) -> Command | Reply:
    attributes = []
    for word in arguments.replace("\t", " ").split():
        name, equals, value = word.partition("=")
        if not equals or not (name.isascii() and name.isalnum()) or not _XTEXT.match(value):
            return BAD_ARGUMENTS
        octets = _XCHAR.sub(lambda found: bytes.fromhex(found[1].decode()), value.encode())
        attributes.append((name.upper(), octets.decode("utf-8", "backslashreplace")))
    return XClient(tuple(attributes)) if attributes else BAD_ARGUMENTS


def _alone(command: Command) -> Callable[[str], Command | Reply]:
    """For a verb that takes no argument."""
    return lambda arguments: BAD_ARGUMENTS if arguments else command


def _one_string(command: Command) -> Callable[[str], Command | Reply]:
    """For a verb that takes at most one atom or quoted string."""
    return lambda arguments: command if not arguments or _ONE_STRING.match(arguments) else BAD_ARGUMENTS


def _unsupported(verb: str, arguments: str) -> Command | Reply:
    return Unsupported(verb) if arguments.replace("\t", " ").isprintable() else BAD_ARGUMENTS


_ARGUMENTS: dict[str, Callable[[str], Command | Reply]] = {
    "EHLO": _ehlo,
    "HELO": _helo,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _alone(Data()),
    "BDAT": _bdat,
    "RSET": _alone(Rset()),
    "QUIT": _alone(Quit()),
    "AUTH": _auth,
    "XCLIENT": _xclient,
    "STARTTLS": _alone(StartTls()),
    "NOOP": _one_string(Noop()),
    "VRFY": _one_string(Vrfy()),
    "EXPN": _one_string(Unsupported("EXPN")),
    "HELP": _one_string(Unsupported("HELP")),
}

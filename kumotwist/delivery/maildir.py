"""
Mail that ends here: a file for each recipient, in a maildir that the queue's template names.

A file is written under `tmp`, synced, and only then moved to `new`, so that who looks there sees whole messages and finds them
after a crash, too.  All of that blocks, and happens in threads.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.config.path_template import NothingThere, PathTemplate
from kumotwist.config.queues import MaildirDelivery
from kumotwist.delivery.hand_over import Taken
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Outcome, Peer, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reply import Reply

PROTOCOL = "Maildir"

_numbers = count(1)  # no two files of this process have the same


class Maildirs(Struct, frozen=True, kw_only=True):
    """What writing needs.  in_thread: calls a function there, fires with what it returns.  hostname: part of files' names."""

    in_thread: "Callable[..., Deferred[Any]]"
    seconds: Callable[[], float]
    hostname: str


class Maildir:
    """A `delivery.hand_over.Taker`: the maildirs of one template."""

    def __init__(self, given: MaildirDelivery, around: Maildirs) -> None:
        self.protocol = PROTOCOL
        self.peer: Peer | None = None
        self.name = given.maildir_path.text
        self.most, self.least, self.patience = 1, 1, 0.0
        self._given = given
        self._around = around

    async def open(self, message: Message) -> None:
        """There is nothing to be opened."""

    async def take(self, messages: Sequence[Message]) -> Taken:
        return Taken([await self._write(message) for message in messages])

    async def _write(self, message: Message) -> list[Outcome]:
        assert message.content is not None  # whoever hands over has loaded it
        told: list[tuple[Mailbox, str | OSError]] = []
        places: list[tuple[Mailbox, str]] = []
        for recipient in message.recipients:
            try:
                places.append((recipient, maildir_of(self._given.maildir_path, message, recipient)))
            except NothingThere as fault:
                told.append((recipient, OSError(f"the message has no {fault}, which {self.name} names")))
        if places:
            now = self._around.seconds()
            told += await self._around.in_thread(write_each, places, message.content, self._given, now, self._around.hostname)
        return _outcomes(told)

    def close(self) -> None:
        """There is nothing to be closed."""


def _outcomes(told: Sequence[tuple[Mailbox, str | OSError]]) -> list[Outcome]:
    """One for all whose files are there, and one for each of the others."""
    there = [(recipient, name) for recipient, name in told if isinstance(name, str)]
    outcomes = []
    if there:
        text = ", ".join(f"{recipient.email}: wrote to maildir with id={name}" for recipient, name in there)
        outcomes.append(Outcome(Verdict.DELIVERED, tuple(recipient for recipient, _ in there), Reply(200, None, text)))
    for recipient, fault in told:
        if isinstance(fault, OSError):
            answer = Reply(400, None, f"{recipient.email}: failed to write to maildir: {fault}")
            outcomes.append(Outcome(Verdict.POSTPONED, (recipient,), answer))
    return outcomes


def maildir_of(template: PathTemplate, message: Message, recipient: Mailbox) -> str:
    """The directory of one recipient.  Raises NothingThere."""
    queue, sender = parse_queue_name(message.queue), message.sender
    values = {
        "queue": message.queue,
        "campaign": queue.campaign,
        "tenant": queue.tenant,
        "domain": queue.domain,
        "routing_domain": queue.routed_to,
        "local_part": recipient.user,
        "domain_part": recipient.domain,
        "email": recipient.email,
        "sender_local_part": sender.user,
        "sender_domain_part": sender.domain,
        "sender_email": sender.email,
    }

    def value_of(place: str) -> str | None:
        if place.startswith("meta."):
            value = message.meta.get(place.removeprefix("meta."))
            return None if value is None or isinstance(value, dict | list) else str(value)
        return values[place]

    return template.fill(value_of)


# In a thread


def write_each(
    places: Sequence[tuple[Mailbox, str]], content: bytes, given: MaildirDelivery, now: float, hostname: str
) -> list[tuple[Mailbox, str | OSError]]:
    """A file in each of these maildirs: its name, or why it could not be written.  now: epoch seconds."""
    told: list[tuple[Mailbox, str | OSError]] = []
    for recipient, maildir in places:
        try:
            told.append((recipient, write_file(maildir, content, given, now, hostname)))
        except OSError as fault:
            told.append((recipient, fault))
    return told


def write_file(maildir: str, content: bytes, given: MaildirDelivery, now: float, hostname: str) -> str:
    """The name of a new file in `new` below the maildir, which is made if there is none.  Raises OSError."""
    for part in ("tmp", "new", "cur"):
        _make_directory(os.path.join(maildir, part), given.dir_mode)
    host = hostname.replace("/", "\\057").replace(":", "\\072")
    unique = f"{int(now)}.#{next(_numbers)}M{int(now % 1 * 1e9)}P{os.getpid()}"
    temporary = os.path.join(maildir, "tmp", f"{unique}.{host}")
    try:
        status = _write_synced(temporary, content, given.file_mode)
        name = f"{unique}V{status.st_dev}I{status.st_ino}.{host},S={len(content)}"
        os.rename(temporary, os.path.join(maildir, "new", name))
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_directory(os.path.join(maildir, "new"))
    return name


def _write_synced(path: str, content: bytes, mode: int | None) -> os.stat_result:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    with open(descriptor, "wb", buffering=0) as file:
        if mode is not None:
            os.fchmod(descriptor, mode)
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        os.fsync(descriptor)
        return os.fstat(descriptor)


def _make_directory(path: str, mode: int | None) -> None:
    """With all that leads there; what was made is on disk before a file in it is said to be."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directory(os.path.dirname(path), mode)
        with suppress(FileExistsError):  # another thread was faster
            os.mkdir(path)
    if mode is not None:
        os.chmod(path, mode)
    _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

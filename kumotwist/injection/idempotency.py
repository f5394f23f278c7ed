"""
`Idempotency-Key`: a request that is made again gets the same answer, and nobody gets a second mail.

What is known of a key lies on the spool's shelf, written in the same change as the messages that it tells of: how far the
request has come with each batch, and in the end the answer.
    Crash before a batch: neither its messages nor the note are there; the client asks again, and it is made then.
    Crash after it: the client asks again, and what is made begins behind it.
So a key never tells of messages that are not there, and no messages are there that their key does not tell of.
"""

from collections.abc import Callable
from hashlib import blake2b

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.injection.request import InjectV1Response

LIFETIME = 24 * 3600.0  # seconds after its first request for which a key is known
MOST_KEYS = 500_000  # known at a time; some 200 octets of memory each
LONGEST_KEY = 255  # characters that a client may use
_SWEEP = 600.0  # seconds between looks for keys that have had their time

_SHELF = "idempotency/"
Shelving = list[tuple[str, bytes | None]]


class Batch(Struct, array_like=True, frozen=True):
    """A part of a request that was dealt with.  done: recipients up to here.  failures: those who got nothing, and why."""

    done: int
    success: int
    failures: list[tuple[str, str]]


class Note(Struct, array_like=True, frozen=True):
    """What the shelf has under a key, or under one of its batches."""

    began: float  # epoch seconds of the first request
    request: bytes  # a digest of what was asked
    batch: Batch | None = None
    answer: InjectV1Response | None = None
    batches: int = 0


class Known(Struct):
    """A key that was used.  answered: the answer is on the shelf.  waiting: who asked again while it was being made."""

    began: float
    request: bytes
    answered: bool = False
    batches: int = 0
    waiting: "list[Deferred[None]] | None" = None  # None: nobody is at it


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


class Keys:
    """
    All keys that are known.  Answers and batches stay on the shelf until they are asked for.

    shelved: reads the shelf; blocks, so it is called in a thread.
    """

    def __init__(self, shelved: Callable[[str], list[tuple[str, bytes]]], seconds: Callable[[], float]) -> None:
        self._shelved = shelved
        self._seconds = seconds
        self._known: dict[str, Known] = {}
        self._swept = seconds()

    # In a thread

    def read(self) -> dict[str, Known]:
        """What the shelf has; blocks."""
        found: dict[str, Known] = {}
        for key, value in self._shelved(_SHELF):
            name, _, number = key.removeprefix(_SHELF).partition("/")
            note = _decode(value)
            known = found.setdefault(name, Known(note.began, note.request))
            if number:
                known.batches = max(known.batches, int(number))
            else:
                known.answered, known.batches = True, max(known.batches, note.batches)
        return found

    def answer(self, name: str) -> InjectV1Response | None:
        """The answer to a key; blocks."""
        for key, value in self._shelved(_SHELF + name):
            if key == _SHELF + name:
                return _decode(value).answer
        return None

    def batches(self, name: str) -> list[Batch]:
        """What was dealt with already; blocks."""
        notes = [_decode(value) for key, value in self._shelved(f"{_SHELF}{name}/")]
        return sorted((note.batch for note in notes if note.batch is not None), key=lambda batch: batch.done)

    # On the reactor's thread

    def add(self, found: dict[str, Known]) -> None:
        """What was read at the start."""
        self._known.update(found)

    def get(self, name: str) -> Known | None:
        known = self._known.get(name)
        if known is not None and known.began + LIFETIME <= self._seconds() and known.waiting is None:
            return None
        return known

    def begin(self, name: str, request: bytes) -> Known | None:
        """A key that is used for the first time; None: there are too many."""
        if len(self._known) >= MOST_KEYS:
            return None
        known = self._known[name] = Known(self._seconds(), request)
        return known

    def forget(self, name: str) -> Shelving:
        """Takes a key out; returns what is to leave the shelf."""
        known = self._known.pop(name)
        return [(_SHELF + name, None), *((f"{_SHELF}{name}/{n:08d}", None) for n in range(1, known.batches + 1))]

    def drop(self, name: str) -> None:
        """A key of which the shelf has nothing."""
        self._known.pop(name, None)

    def outlived(self) -> Shelving:
        """Now and then: takes out the keys that have had their time."""
        now = self._seconds()
        if now - self._swept < _SWEEP:
            return []
        self._swept = now
        old = [name for name, known in self._known.items() if known.began + LIFETIME <= now and known.waiting is None]
        return [change for name in old for change in self.forget(name)]

    def __contains__(self, name: object) -> bool:
        return name in self._known


def name_of(who: str, key: str) -> str:
    """A key's name on the shelf: keys of different clients never meet."""
    return blake2b(f"{who}\0{key}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def digest(body: bytes) -> bytes:
    """What tells a request from another."""
    return blake2b(body, digest_size=16).digest()


class Progress:
    """How far a request has come, and what goes on the shelf about it."""

    def __init__(self, name: str | None = None, known: Known | None = None, batches: "list[Batch] | None" = None) -> None:
        """name, known: of the key; None: it has none.  batches: what was dealt with before."""
        self._name = name
        self._known = known
        self.done = 0
        self.success = 0
        self.failures: list[tuple[str, str]] = []
        for batch in batches or ():
            self.add(batch)

    def add(self, batch: Batch) -> None:
        """A batch was dealt with."""
        self.done = batch.done
        self.success += batch.success
        self.failures += batch.failures

    def shelving(self, batch: Batch, last: bool) -> Shelving:
        """What the change that holds a batch's messages puts on the shelf."""
        known = self._known
        if known is None or self._name is None:
            return []
        if last:
            answer = answer_of(self.success + batch.success, [*self.failures, *batch.failures])
            return [(_SHELF + self._name, _encode(Note(known.began, known.request, answer=answer, batches=known.batches)))]
        known.batches += 1
        return [(f"{_SHELF}{self._name}/{known.batches:08d}", _encode(Note(known.began, known.request, batch=batch)))]

    def answer(self) -> InjectV1Response:
        return answer_of(self.success, self.failures)


def answer_of(success: int, failures: list[tuple[str, str]]) -> InjectV1Response:
    return InjectV1Response(
        success_count=success,
        fail_count=len(failures),
        failed_recipients=[recipient for recipient, _ in failures],
        errors=[f"{recipient}: {why}" for recipient, why in failures],
    )


_GENERATOR_SHELF = "generation/"


class GeneratorProgress(Progress):
    """How far a request that is generated later has come: one note, replaced with each batch."""

    def __init__(self, message_id: str, note: bytes | None) -> None:
        super().__init__()
        self._key = _GENERATOR_SHELF + message_id
        if note is not None:
            self.add(msgspec.msgpack.decode(note, type=Batch))

    def shelving(self, batch: Batch, last: bool) -> Shelving:
        return [(self._key, _encode(Batch(batch.done, self.success + batch.success, [])))]

    def finished(self) -> Shelving:
        """What is to leave the shelf with the request."""
        return [(self._key, None)]


def generator_note(shelved: Callable[[str], list[tuple[str, bytes]]], message_id: str) -> bytes | None:
    """How far a request had come; blocks."""
    return dict(shelved(_GENERATOR_SHELF + message_id)).get(_GENERATOR_SHELF + message_id)

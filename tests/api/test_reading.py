"""Bodies as they come: packed in known ways, within bounds, or refused with a word that helps."""

import gzip
import zlib

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.api.endpoint import Problem
from kumotwist.api.reading import unpacked

PLAIN = b'{"a": 1}' * 100


def raw_deflate(octets: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(octets) + packing.flush()


PACKED = {
    "": PLAIN,
    "identity": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN[:8]) + gzip.compress(PLAIN[8:]),
    "deflate": zlib.compress(PLAIN),
    "Deflate": raw_deflate(PLAIN),
    "zstd": zstandard.compress(PLAIN),
    "gzip, zstd": zstandard.compress(gzip.compress(PLAIN)),
}


class UnpackedTests(SynchronousTestCase):
    def code(self, body: bytes, encoding: str, limit: int = 10_000) -> int:
        problem: Problem = self.assertRaises(Problem, unpacked, body, encoding, limit)
        return problem.code

    def test_each_way_of_packing_is_known(self) -> None:
        self.assertEqual(
            {encoding: unpacked(body, encoding, 10_000) for encoding, body in PACKED.items()}, dict.fromkeys(PACKED, PLAIN)
        )

    def test_what_unpacks_to_more_than_the_limit_is_too_large(self) -> None:
        for encoding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress), ("", bytes)):
            with self.subTest(encoding):
                self.assertEqual(self.code(pack(bytes(50_000_000)), encoding), 413)
                self.assertEqual(len(unpacked(pack(bytes(10_000)), encoding, 10_000)), 10_000)

    def test_what_cannot_be_unpacked_is_the_clients_mistake(self) -> None:
        for encoding in ("gzip", "deflate", "zstd"):
            with self.subTest(encoding):
                self.assertEqual(self.code(b"nonsense", encoding), 400)
                self.assertEqual(self.code(PACKED[encoding][:-5], encoding) if encoding != "zstd" else 400, 400)

    def test_an_unknown_way_is_said_to_be_unknown(self) -> None:
        self.assertEqual(self.code(PLAIN, "br"), 415)

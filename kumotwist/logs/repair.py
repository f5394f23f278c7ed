"""
Completing segments whose writer is gone: a crash, a power failure or a full disk left them in the middle of something.

Nothing is rewritten.  The file is cut off behind the last newline up to which it can be read and which ends a block, a
zstd frame gets an empty last block, and the write permission goes.  What is cut off is in the journal still: a line is
forgotten there only after it was synced here, and every sync happens at such a place.  So a crash during the repair
leaves a segment that can be repaired.
"""

from collections.abc import Callable

import zstandard

from kumotwist.logs.segment import LAST_BLOCK, ZSTD_MAGIC, Disk, write_all

_CHUNK = 65536
_MOST_HEADER = 18  # RFC 8878 section 3.1.1: magic number and the largest frame header
_MOST_BLOCK = 131072  # RFC 8878 section 3.1.1.2.4
_RLE, _COMPRESSED = 1, 2  # types of block; 0 is raw, 3 is reserved

Read = Callable[[int], bytes]  # so many octets, fewer only at the end


def finish(disk: Disk, path: str, trusted: int | None = None) -> None:
    """
    Complete a segment and mark it as finished, or remove it if it holds no whole line.  Raises OSError.

    trusted: only so many octets of the file are known to have reached the disk; None: as many as can be read.
    A segment that a living process writes, and one that is gone, are left alone.
    """
    try:
        fd = disk.reopen(path)
    except (BlockingIOError, FileNotFoundError):
        return
    try:
        end, ending = _whole(_reading(disk, fd, trusted))
        if end == 0 and ending is not None:
            disk.remove(path)
            return
        if ending is not None:
            disk.truncate(fd, end)
            write_all(disk, fd, ending)
        disk.sync(fd)
        disk.seal(fd)
    finally:
        disk.close(fd)


def _reading(disk: Disk, fd: int, limit: int | None) -> Read:
    left = limit

    def read(size: int) -> bytes:
        nonlocal left
        wanted = size if left is None else min(size, left)
        parts: list[bytes] = []
        while wanted and (part := disk.read(fd, wanted)):
            parts.append(part)
            wanted -= len(part)
        octets = b"".join(parts)
        if left is not None:
            left -= len(octets)
        return octets

    return read


def _whole(read: Read) -> tuple[int, bytes | None]:
    """Where the file is to be cut off, and what to write there; None: it is to stay as it is."""
    head = read(_MOST_HEADER)
    if head[:4] == ZSTD_MAGIC:
        return _whole_frame(head, read)
    if ZSTD_MAGIC.startswith(head[:4]):
        return 0, b""  # empty, or torn inside the magic number
    return _whole_lines(head, read), b""


def _whole_lines(chunk: bytes, read: Read) -> int:
    """The end of the last whole line.  JSON text has no NUL: that is what a file system leaves where data did not arrive."""
    end = at = 0
    while chunk:
        text, nul, _ = chunk.partition(b"\0")
        end = max(end, at + text.rfind(b"\n") + 1 if b"\n" in text else 0)
        if nul:
            break
        at += len(chunk)
        chunk = read(_CHUNK)
    return end


def _whole_frame(head: bytes, read: Read) -> tuple[int, bytes | None]:
    """Walk the blocks of a frame (RFC 8878 section 3.1.1.2) as far as they decode."""
    try:
        length = zstandard.frame_header_size(head)
        if zstandard.get_frame_parameters(head).has_checksum:
            return 0, None  # not ours, and without the content's hash it cannot be completed: readers cope with it
    except zstandard.ZstdError:
        return 0, b""
    pushed_back = head[length:]

    def take(size: int) -> bytes:
        nonlocal pushed_back
        octets, pushed_back = pushed_back[:size], pushed_back[size:]
        return octets if len(octets) == size else octets + read(size - len(octets))

    return _whole_blocks(head[:length], length, take)


def _whole_blocks(header: bytes, at: int, take: Read) -> tuple[int, bytes | None]:
    decode = zstandard.ZstdDecompressor().decompressobj().decompress
    decode(header)
    good = 0
    while (block := take(3)) and len(block) == 3:
        fields = int.from_bytes(block, "little")
        kind, size = fields >> 1 & 3, fields >> 3
        content = 1 if kind == _RLE else size
        if kind > _COMPRESSED or size > _MOST_BLOCK or len(octets := take(content)) < content:
            break
        try:
            text = decode(block + octets)
        except zstandard.ZstdError:
            break
        if b"\0" in text:
            break
        at += 3 + content
        if fields & 1:
            return at, None  # the frame is complete
        if text.endswith(b"\n"):
            good = at
    return good, LAST_BLOCK

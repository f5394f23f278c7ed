"""
A request's body and parameters as values: unpacked within bounds, then read by the endpoint's types.

Whatever is wrong with them is the client's fault, and a Problem that says what it is.
"""

import zlib
from io import BytesIO
from typing import Any

import msgspec
import zstandard

from kumotwist.api.endpoint import Call, Endpoint, Problem

TOO_LARGE = "Failed to buffer the request body: length limit exceeded"
_LARGEST_WINDOW = 8 * 1024 * 1024  # octets of memory that a zstd body may want for its window (RFC 8878 section 3.1.1.1.2)


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """What a body holds, by its Content-Encoding, at most so many octets.  Raises Problem: 400, 413, 415."""
    for name in reversed([one.strip().lower() for one in encoding.split(",") if one.strip()]):
        if name in ("gzip", "x-gzip"):
            body = _inflated(body, 16 + zlib.MAX_WBITS, limit)
        elif name == "deflate":
            # RFC 9110 section 8.4.1.2: zlib's format; some send what is inside of it.
            body = _inflated(body, zlib.MAX_WBITS if body[:1] and body[0] & 0x0F == 8 else -zlib.MAX_WBITS, limit)
        elif name == "zstd":
            body = _zstd(body, limit)
        elif name != "identity":
            raise Problem(415, f"Content-Encoding {name[:40]!r}: expected gzip, deflate or zstd")
    if len(body) > limit:
        raise Problem(413, TOO_LARGE)
    return body


def _inflated(body: bytes, bits: int, limit: int) -> bytes:
    found = b""
    while body:  # gzip may have several members, one after the other (RFC 1952 section 2.2)
        inflating = zlib.decompressobj(bits)
        try:
            found += inflating.decompress(body, limit + 1 - len(found))
        except zlib.error as fault:
            raise Problem(400, f"the body cannot be unpacked: {fault}") from None
        if len(found) > limit or inflating.unconsumed_tail:
            raise Problem(413, TOO_LARGE)
        if not inflating.eof:
            raise Problem(400, "the body cannot be unpacked: it ends too early")
        body = inflating.unused_data
    return found


def _zstd(body: bytes, limit: int) -> bytes:
    unpacking = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    try:
        with unpacking.stream_reader(BytesIO(body), read_across_frames=True) as stream:
            found = bytearray()
            while piece := stream.read(min(65536, limit + 1 - len(found))):
                found += piece
                if len(found) > limit:
                    raise Problem(413, TOO_LARGE)
    except zstandard.ZstdError as fault:
        raise Problem(400, f"the body cannot be unpacked: {fault}") from None
    return bytes(found)


def arguments(endpoint: Endpoint, call: Call) -> list[Any]:
    """What `run` gets beside the call.  Raises Problem: 400, 415, 422."""
    found = []
    if endpoint.asks is not None or endpoint.read is not None:
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise Problem(415, "Expected request with `Content-Type: application/json`")
        if endpoint.read is None:
            found.append(json_of(call.body, endpoint.asks))
    if endpoint.query is not None:
        found.append(_query(call.query, endpoint.query))
    return found


def json_of(body: bytes, wanted: Any) -> Any:
    """Raises Problem."""
    try:
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        raise problem_of(fault) from None


def problem_of(fault: Exception) -> Problem:
    """What was wrong with a body, as the client is told: 422 for JSON of another shape, 400 for what is no JSON."""
    if isinstance(fault, RecursionError):
        return Problem(422, "it is nested too deep")
    if isinstance(fault, msgspec.ValidationError):
        return Problem(422, f"Failed to deserialize the JSON body into the target type: {fault}")
    if isinstance(fault, msgspec.DecodeError | UnicodeDecodeError):
        return Problem(400, f"Failed to parse the request body as JSON: {fault}")
    return Problem(422, f"Error: {fault}")


def _query(given: dict[str, str], wanted: Any) -> Any:
    known = {field.encode_name for field in msgspec.structs.fields(wanted)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise Problem(422, f"unknown parameter {unknown[0][:60]!r}, expected some of {', '.join(sorted(known))}")
    try:
        return msgspec.convert(given, type=wanted, strict=False)
    except msgspec.ValidationError as fault:
        raise Problem(422, f"Failed to deserialize query string: {fault}") from None

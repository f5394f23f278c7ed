"""Where a certificate, a key or a password comes from: a file, the configuration itself, or the policy."""

from typing import Annotated

from msgspec import Meta, Struct


class KeyData(Struct, frozen=True):
    """`{key_data: …}`: what it is, in the configuration itself."""

    data: bytes

    def __repr__(self) -> str:
        return "KeyData(…)"  # it may be a secret, and values end up in logs


class KeyEvent(Struct, frozen=True):
    """`{event_name: …, event_args: […]}`: the policy's handler for that event answers it; asked when it is needed."""

    event_name: str
    event_args: tuple[str | int | float | bool | None, ...] = ()


# A text is the absolute name of a file; what kind of thing is in it depends on what it is for.
KeySource = Annotated[str | KeyData | KeyEvent, Meta(description="key source", extra={"form": "key_source"})]

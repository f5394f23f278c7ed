"""The names of the record types as configurations write them."""

from typing import Annotated

from msgspec import Meta

# The model's types, and `Any` for those that have no entry of their own.
RecordName = Annotated[str, Meta(extra={"kind": "choice", "of": (
    "Any", "Reception", "Delivery", "Bounce", "TransientFailure", "Expiration", "AdminBounce", "OOB", "Feedback", "Rejection",
    "AdminRebind", "DeferredInjectionRebind", "Delayed", "XferOut", "XferIn",
)})]  # fmt: skip

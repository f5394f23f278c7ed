"""All that operators can ask for, as one group of the table."""

from typing import Any

from kumotwist.api.diagnostics import DiagnosticLog, diagnostic_endpoints
from kumotwist.api.endpoint import Endpoint
from kumotwist.api.inspection import inspection_endpoints
from kumotwist.api.orders import order_endpoints
from kumotwist.api.ready_queues import ready_endpoints
from kumotwist.api.resolving import resolving_endpoint
from kumotwist.api.stages import Stages


def operators_endpoints(stages: Stages, log: Any) -> tuple[Endpoint, ...]:
    """log: Twisted's publisher of what the operator's log gets."""
    return (
        *order_endpoints(stages),
        *inspection_endpoints(stages),
        *ready_endpoints(stages),
        resolving_endpoint(stages),
        *diagnostic_endpoints(stages, DiagnosticLog(log)),
    )

"""All that operators can ask for, as one group of the table."""

from kumotwist.api.endpoint import Endpoint
from kumotwist.api.inspection import inspection_endpoints
from kumotwist.api.orders import order_endpoints
from kumotwist.api.ready_queues import ready_endpoints
from kumotwist.api.stages import Stages


def operators_endpoints(stages: Stages) -> tuple[Endpoint, ...]:
    return (*order_endpoints(stages), *inspection_endpoints(stages), *ready_endpoints(stages))

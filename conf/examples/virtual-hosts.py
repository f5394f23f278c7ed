"""
One listener for several customers, whose parameters are made for each connection.

The address that a client connects to decides what the server is called, and with which certificate.
"""

from typing import Any

from kumotwist import kumo


@kumo.on("init")
def init() -> None:
    kumo.start_esmtp_listener(listen="0.0.0.0:25")


@kumo.on("smtp_server_get_dynamic_parameters")
def parameters(listener: str, conn_meta: kumo.ConnMeta) -> dict[str, Any]:
    return {
        "via": {
            "10.0.0.1": {
                "hostname": "mx.example-customer.com",
                "tls_certificate": "customer1.cert",
                "tls_private_key": "customer1.key",
            },
            "10.0.0.2": {
                "hostname": "mx.other-customer.com",
                "tls_certificate": "customer2.cert",
                "tls_private_key": "customer2.key",
            },
        },
    }

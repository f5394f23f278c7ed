"""KumoTwist: an outbound mail server on Twisted.  The way of a message is the order of the packages: see docs/flow.md."""

__version__ = "0.1.0"

"""Kinds of value that command lines take: durations, sizes, addresses with ports.  A bad one is a usage error that says why."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from kumotwist.cli.quantity import parse_duration, parse_host_port, parse_ip, parse_size

DEFAULT_PORT = 2525  # of sinks and loads: needs no privilege and is nobody's


class Kind(click.ParamType):  # type: ignore[type-arg]  # click's is generic in its newest versions only
    """A parameter that `parse` reads; its ValueError is the message."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


DURATION = Kind("duration", parse_duration)
SIZE = Kind("size", parse_size)
TARGET = Kind("host:port", parse_host_port)
LISTEN = Kind("addr[:port]", partial(parse_host_port, port=DEFAULT_PORT))
IP = Kind("ip", parse_ip)

"""
The server's HTTP API, asked over the standard library's HTTP client.

A command asks once or a few times and ends: nothing runs beside it, so nothing needs a reactor, and it answers in a tenth of
a second.  Whatever goes wrong is an exception of click's, with the exit status that the documentation promises.
"""

import ssl
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import click
import msgspec
from msgspec import Struct

PATIENCE = 60.0  # seconds that an answer may take
REFUSED, USAGE, NOT_THERE = 1, 2, 3  # exit statuses, beside 0
_LONGEST_COMPLAINT = 2000  # characters of a refusal that are shown


class Refused(click.ClickException):
    """The server is there, and does not do it.  code: the HTTP status."""

    exit_code = REFUSED

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class NotThere(click.ClickException):
    """Nobody answers, or nobody who speaks HTTP as the server does."""

    exit_code = NOT_THERE


class Credentials(Struct, frozen=True):
    """Who asks, for HTTP's basic authentication (RFC 7617)."""

    user: str
    password: str

    def __repr__(self) -> str:  # what is shown in a traceback must not show the password
        return f"Credentials({self.user!r}, ...)"

    @property
    def field(self) -> str:
        """The Authorization field."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


class Api:
    """One server's API.  endpoint: its address, as the user gave it, without the path's last slash."""

    def __init__(
        self, endpoint: str, credentials: Credentials | None = None, ca_file: str | None = None, patience: float = PATIENCE
    ) -> None:
        """ca_file: whom to trust beside TLS, instead of the system.  patience: seconds.  Raises click.UsageError."""
        self.endpoint = endpoint.rstrip("/")
        self.address = split_endpoint(endpoint)
        self.credentials = credentials
        self.ca_file = ca_file
        self._patience = patience

    def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Raises Refused, NotThere."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def post(self, path: str, asked: Any = None) -> bytes:
        """asked: becomes JSON; None: no body.  Raises Refused, NotThere."""
        return self._ask("POST", path, asked)

    def delete(self, path: str, asked: Any) -> bytes:
        """As `post`."""
        return self._ask("DELETE", path, asked)

    def _ask(self, method: str, path: str, asked: Any) -> bytes:
        body = None if asked is None else msgspec.json.encode(asked)
        fields = {"Accept": "application/json, text/plain", "Connection": "close"}
        if body is not None:
            fields["Content-Type"] = "application/json"
        if self.credentials is not None:
            fields["Authorization"] = self.credentials.field
        connection = self._connection()
        try:
            connection.request(method, self.address.path.rstrip("/") + path, body, fields)
            answer = connection.getresponse()
            found = answer.read()
        except (OSError, HTTPException) as fault:
            raise NotThere(absence(self.endpoint, fault)) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, refusal(answer.status, found, path, self.credentials))
        return found

    def _connection(self) -> HTTPConnection:
        host, port = self.address.hostname or "", self.address.port
        if self.address.scheme == "http":
            return HTTPConnection(host, port, timeout=self._patience)
        return HTTPSConnection(host, port, timeout=self._patience, context=self.tls())

    def tls(self) -> ssl.SSLContext:
        """Whom we trust.  Raises click.UsageError."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as fault:
            raise click.UsageError(f"--ca-file {self.ca_file}: {fault}") from None


def split_endpoint(endpoint: str) -> SplitResult:
    """The parts of a server's address.  Raises click.UsageError."""
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise click.UsageError(f"--endpoint {endpoint!r}: expected an address such as http://127.0.0.1:8000")
    if parts.username is not None:
        raise click.UsageError(
            "--endpoint: a password does not belong there; use KUMOTWIST_USER and KUMOTWIST_PASSWORD, or --credentials"
        )
    if parts.query or parts.fragment:
        raise click.UsageError(f"--endpoint {endpoint!r}: expected an address without a ? and what follows")
    return parts


def absence(endpoint: str, fault: Exception) -> str:
    """What to do where nobody answers."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return (
            f"{endpoint} shows a certificate that is not trusted: {fault.verify_message}.\n"
            "Give the certificate of whoever signed it with --ca-file FILE."
        )
    if isinstance(fault, TimeoutError):
        return f"{endpoint} does not answer in time.\nIs the server busy, or a firewall between?"
    if isinstance(fault, ssl.SSLError):
        return f"{endpoint} does not speak TLS as expected: {getattr(fault, 'reason', None) or fault}.\nIs it http:// rather than https://?"
    if isinstance(fault, HTTPException):
        return f"{endpoint} does not speak HTTP as expected ({fault!r}).\nIs it https:// rather than http://, or another port?"
    what = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return (
        f"nobody answers at {endpoint}: {what}.\n"
        "Is the server running, with this address in its http_listeners?\n"
        "Another address is given by --endpoint URL, or in $KUMOTWIST_ENDPOINT."
    )


def refusal(code: int, body: bytes, path: str, credentials: Credentials | None) -> str:
    """What the server says, and what to do about it."""
    said = _words(body) or f"HTTP status {code}"
    path = path.partition("?")[0]
    if code in (401, 403):
        if credentials is not None:
            hint = f"The server does not let {credentials.user!r} do this: is the password right, and what do its access rules say?"
        else:
            hint = "Ask from an address in trusted_hosts, or set KUMOTWIST_USER and KUMOTWIST_PASSWORD, or use --credentials FILE."
        return f"refused ({code}): {said}\n{hint}"
    if code == 404 and path in said:
        return f"{said}\nThis server has no {path}: is it another, or an older one?"
    return f"refused ({code}): {said}"


def _words(body: bytes) -> str:
    """The text of a refusal, which may be JSON."""
    text = body.decode("utf-8", "replace").strip()
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        pass
    else:
        if isinstance(told, dict):
            text = str(told.get("error") or told.get("detail") or text)
        elif isinstance(told, str):
            text = told
    return text.removeprefix("Error: ")[:_LONGEST_COMPLAINT]

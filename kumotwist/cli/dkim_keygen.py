"""`kumotwist dkim-keygen`: a new DKIM key in a file, and the DNS record that publishes it."""

import os

import click

from kumotwist.authentication.keys import load_key
from kumotwist.authentication.sender_check import txt_line
from kumotwist.config.fields import BadValue
from kumotwist.config.kinds import domain_name

_BITS = {"rsa": 2048}


@click.command("dkim-keygen")
@click.option("--domain", required=True, help="Whose mail is signed with it.")
@click.option("--selector", required=True, help="Under which name the domain publishes it.")
@click.option("--algorithm", type=click.Choice(["rsa", "ed25519"]), default="rsa", show_default=True)
@click.option(
    "--out", metavar="DIR", required=True, type=click.Path(file_okay=False), help="Where DIR/DOMAIN/SELECTOR.key is made."
)
def dkim_keygen(domain: str, selector: str, algorithm: str, out: str) -> None:
    """
    Make a key for DKIM in DIR/DOMAIN/SELECTOR.key, which only we may read, and print the DNS record that publishes it.

    With `key_directory: DIR` in `dkim.base` the key is found there.  A file that is there already is left as it is.

    Exit status: 0 if the key has been made, 2 if not.
    """
    try:
        name = domain_name(domain)
    except BadValue as fault:
        raise click.UsageError(str(fault)) from None
    if not selector.replace("-", "").replace("_", "").replace(".", "").isalnum() or not selector.isascii():
        raise click.UsageError(f"not a selector: {selector!r}")
    octets = made(algorithm)
    path = os.path.join(out, name, f"{selector}.key")
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        written(path, octets)
    except OSError as fault:
        raise click.UsageError(f"{path}: {fault.strerror}") from None
    click.echo(f"; {path}: {'RSA with 2048 bits' if algorithm == 'rsa' else 'Ed25519'}.  Publish, then sign with it:")
    click.echo(txt_line(f"{selector}._domainkey.{name}", load_key(octets).record()))


def made(algorithm: str) -> bytes:
    """A new private key in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_private_key(65537, _BITS["rsa"])
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def written(path: str, octets: bytes) -> None:
    """A new file that only its owner may read.  Raises OSError, also where it is there already."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(octets)
        stream.flush()
        os.fsync(stream.fileno())

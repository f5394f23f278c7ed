"""`kumotwist check-domain`: what receivers will find wrong with mail of a domain, and the DNS lines that mend it."""

import asyncio
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from kumotwist.authentication.keys import KeyUnusable, SigningKey, load_key
from kumotwist.authentication.lookups import Lookups, Unanswered
from kumotwist.authentication.selection import Selection, WantedSignature
from kumotwist.authentication.sender_check import (
    Finding,
    Grade,
    Source,
    dkim_findings,
    dmarc_findings,
    doubtful,
    fine,
    name_findings,
    spf_findings,
    txt_line,
    unknown,
    wrong,
)
from kumotwist.config.certificates import certificates
from kumotwist.config.egress import UNSPECIFIED
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.fields import BadValue
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.config.read import read_config
from kumotwist.config.server import Config
from kumotwist.mail.address import BadAddress, parse_domain

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_FETCH_TIMEOUT = 20.0  # seconds
_LONGEST_POLICY = 65536  # octets


@click.command("check-domain")
@click.argument("name")
@click.option("--config", metavar="FILE", required=True, help="The server's configuration: its sources, keys and hosts.")
@click.option("--quiet", is_flag=True, help="Only what is not in order.")
def check_domain(name: str, config: str, quiet: bool) -> None:
    """
    Look at the DNS as receivers do who get mail from NAME out of this server.

    SPF covers the sources; the published DKIM keys are those of our private keys; DMARC is there and aligned; each source's
    address and the name that it greets with lead to each other; MTA-STS and TLSA of hosts of ours that take mail for NAME.
    Beneath what is wrong stands the DNS line that mends it.

    Exit status: 0 if nothing is wrong, 1 if something is or the DNS did not say, 2 if configuration or command are wrong.
    """
    try:
        domain = parse_domain(name)
    except BadAddress as fault:
        raise click.UsageError(str(fault)) from None
    try:
        settings = read_config(config)
    except ConfigFaults as faults:
        click.echo(str(faults), err=True)
        raise SystemExit(2) from None
    found = examined(domain, settings, _NameserverLookups(settings), time.time())
    for finding in found:
        if finding.grade is not Grade.FINE or not quiet:
            click.echo(f"{finding.grade.value:5}  {finding.about:7}  {finding.said}")
            if finding.mend:
                click.echo(f"       {'':7}    {finding.mend}")
    raise SystemExit(1 if any(finding.grade in (Grade.WRONG, Grade.UNKNOWN) for finding in found) else 0)


class HostLookups(Lookups):
    """What is asked beyond what checks of mail ask."""

    async def tlsa(self, name: str) -> Sequence[tuple[int, int, int, bytes]]:
        """Usage, selector, matching type, association of each record.  Raises Unanswered."""
        raise Unanswered("there is no DNS here")


def examined(domain: str, config: Config, lookups: HostLookups, now: float) -> list[Finding]:
    """All that there is to say.  now: epoch seconds."""
    return asyncio.run(_examined(domain, config, lookups, now))


async def _examined(domain: str, config: Config, lookups: HostLookups, now: float) -> list[Finding]:
    sources = sources_of(config)
    found = await spf_findings(lookups, domain, sources)
    wanted = Selection(config.dkim).wanted(domain)
    if not wanted:
        found.append(wrong("DKIM", f"mail from {domain} is not signed: no entry of `dkim` is for it (see docs/signing.md)"))
    for one in wanted:
        found += await _dkim(lookups, one)
    found += await dmarc_findings(lookups, domain, [one.signer.domain for one in wanted])
    for source in sources:
        found += await name_findings(lookups, source)
    return found + await _hosts(domain, config, lookups, now)


def sources_of(config: Config) -> list[Source]:
    """Where mail may leave from, as far as the configuration says it."""
    named = [source for name, source in config.egress.source.items() if name != UNSPECIFIED]
    found = [Source(source.name, source.source_address, source.ehlo_domain or config.hostname) for source in named]
    return found or [Source(UNSPECIFIED, None, config.hostname)]


async def _dkim(lookups: Lookups, wanted: WantedSignature) -> list[Finding]:
    if isinstance(wanted.key, KeyEvent):
        name = f"{wanted.signer.selector}._domainkey.{wanted.signer.domain}"
        return [doubtful("DKIM", f"the private key for {name} is the policy's ({wanted.key.event_name}), which is not asked here")]
    return await dkim_findings(lookups, wanted.signer, _key(wanted.key, wanted.algorithm))


def _key(source: str | KeyData, algorithm: str | None) -> SigningKey | str:
    """The private key, or why it cannot be used."""
    try:
        if isinstance(source, KeyData):
            key = load_key(source.data)
        else:
            with open(source, "rb") as stream:
                key = load_key(stream.read())
    except OSError as fault:
        return f"{source}: {fault.strerror}"
    except KeyUnusable as fault:
        return str(fault)
    return key if algorithm in (None, key.algorithm) else f"it makes signatures of {key.algorithm}, and {algorithm} is wanted"


# Hosts of ours that take mail for the domain


async def _hosts(domain: str, config: Config, lookups: HostLookups, now: float) -> list[Finding]:
    own = {config.hostname, *(listener.hostname for listener in config.esmtp_listeners)}
    try:
        hosts = [host for host in await lookups.exchangers(domain) if host in own]
    except Unanswered as fault:
        return [unknown("MX", f"the DNS does not answer for the MX of {domain}: {fault}")]
    if not hosts:
        return [fine("MX", f"no host of ours takes mail for {domain}: MTA-STS and TLSA are others' concern")]
    found = await _mta_sts(domain, hosts, config, lookups, now)
    for host in hosts:
        found += await _tlsa(host, config, lookups)
    return found


async def _mta_sts(domain: str, hosts: Iterable[str], config: Config, lookups: Lookups, now: float) -> list[Finding]:
    from kumotwist.delivery.sts_policy import BadPolicy, StsMode, allows, read_policy, read_record

    name = f"_mta-sts.{domain}"
    mend = txt_line(name, f"v=STSv1; id={int(now)}")
    try:
        texts = await lookups.texts(name)
    except Unanswered as fault:
        return [unknown("MTA-STS", f"the DNS does not answer for {name}: {fault}")]
    if not texts:
        return [doubtful("MTA-STS", f"{domain} does not insist on TLS for mail to it", mend)]
    if read_record(texts) is None:
        return [wrong("MTA-STS", f"what is at {name} is no record of MTA-STS", mend)]
    try:
        policy = read_policy(fetched(f"https://mta-sts.{domain}/.well-known/mta-sts.txt", config.tls.ca_file))
    except (OSError, ValueError) as fault:
        what = f"is none: {fault}" if isinstance(fault, BadPolicy) else f"cannot be fetched: {fault}"
        return [wrong("MTA-STS", f"the policy of {domain} {what}")]
    left_out = [host for host in hosts if policy.mode is StsMode.ENFORCE and not allows(policy, host)]
    if left_out:
        return [wrong("MTA-STS", f"the policy of {domain} does not name {', '.join(left_out)}: senders will not use it")]
    return [fine("MTA-STS", f"the policy of {domain} is {policy.mode.value} and names its hosts")]


def fetched(url: str, ca_file: str | None) -> bytes:
    """What a web server hands out.  Raises OSError."""
    context = ssl.create_default_context(cafile=ca_file)
    try:
        with urllib.request.urlopen(url, timeout=_FETCH_TIMEOUT, context=context) as answer:
            octets: bytes = answer.read(_LONGEST_POLICY)
            return octets
    except urllib.error.URLError as fault:
        raise OSError(str(fault.reason)) from None


async def _tlsa(host: str, config: Config, lookups: HostLookups) -> list[Finding]:
    from kumotwist.delivery.tlsa import Tlsa, means, usable

    name = f"_25._tcp.{host}"
    try:
        records = [Tlsa(*record) for record in await lookups.tlsa(name)]
    except Unanswered as fault:
        return [unknown("TLSA", f"the DNS does not answer for {name}: {fault}")]
    chain = _certificate_of(host, config)
    if chain is None:
        told = "and nobody can say whether they fit: its listener has no certificate of its own" if records else "which is fine"
        return [doubtful("TLSA", f"{name} has {len(records)} records, {told}")]
    mend = f"{name}. IN TLSA 3 1 1 {_digest(chain[0])}"
    if not records:
        return [doubtful("TLSA", f"{name} has no record; with DNSSEC it would tell senders which certificate is ours", mend)]
    if any(usable(record) and any(means(record, one) for one in chain) for record in records):
        return [fine("TLSA", f"{name} means the certificate that our listener shows")]
    return [wrong("TLSA", f"{name} means another certificate than our listener shows: senders with DANE will not send", mend)]


def _certificate_of(host: str, config: Config) -> "list[Certificate] | None":
    """What the listener of that name shows; None where that is not known."""
    for listener in config.esmtp_listeners:
        if (listener.hostname or config.hostname) == host and isinstance(listener.tls_certificate, str | KeyData):
            try:
                return certificates(listener.tls_certificate)
            except BadValue:
                return None
    return None


def _digest(certificate: "Certificate") -> str:
    from hashlib import sha256

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


class _NameserverLookups(HostLookups):
    """The name servers of a configuration, asked one question after the other; each waits for its answer."""

    def __init__(self, config: Config) -> None:
        from kumotwist.delivery.dnssec import SecuredNameservers
        from kumotwist.dns.answers import LookupFailed
        from kumotwist.hooks.mail_lookups import MailLookups

        self._failed = LookupFailed
        self._find = SecuredNameservers(config.dns, time.monotonic).find
        self._mail = MailLookups(self._answered)

    def _answered(self, name: str, kind: str) -> Any:
        """What MailLookups awaits."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(self._find(name, kind))
        except self._failed as fault:
            future.set_exception(fault)
        return future

    async def texts(self, name: str) -> Sequence[str]:
        return await self._mail.texts(name)

    async def addresses(self, name: str, version: int) -> Sequence[str]:
        return await self._mail.addresses(name, version)

    async def exchangers(self, name: str) -> Sequence[str]:
        return await self._mail.exchangers(name)

    async def names(self, address: str) -> Sequence[str]:
        return await self._mail.names(address)

    async def tlsa(self, name: str) -> Sequence[tuple[int, int, int, bytes]]:
        try:
            found = self._find(name, "TLSA")
        except self._failed as fault:
            raise Unanswered(str(fault)) from None
        return [(record.usage, record.selector, record.mtype, bytes(record.cert)) for record in found.records]

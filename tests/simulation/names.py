"""Name servers: they answer, say nothing, fail, or lie."""

from random import Random

from kumotwist.delivery.dnssec import Found
from kumotwist.dns.answers import Family, HostAddresses, LookupFailed, MailExchangers, NoSuchDomain
from tests.simulation.timeline import Strands

_TTL = 600.0
# Hosts and addresses of each domain that is looked up; `gone.test` does not exist, `null.test` takes no mail.
EXCHANGERS = {
    "one.test": ((10, "mx.one.test"),),
    "two.test": ((10, "mx1.two.test"), (20, "mx2.two.test")),
    "shared-a.test": ((10, "mx.shared.test"),),
    "shared-b.test": ((10, "mx.shared.test"),),
    "null.test": ((0, ""),),
}
ADDRESSES = {"mx.one.test": "10.1.0.1", "mx1.two.test": "10.2.0.1", "mx2.two.test": "10.2.0.2", "mx.shared.test": "10.3.0.1"}


class Names:
    """odd: the share of questions that get no true answer."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.odd = 0.0

    def end(self) -> None:
        self.odd = 0.0

    def questions(self, strands: Strands) -> "Questions":
        return Questions(self, strands, self._chance)


class Questions:
    """What a process can ask; dns.resolver.Questions."""

    def __init__(self, names: Names, strands: Strands, chance: Random) -> None:
        self._names = names
        self._strands = strands
        self._chance = chance

    def mail_exchangers(self, domain: str) -> MailExchangers:
        way = self._way(domain)
        if way == "lie":
            return MailExchangers((), _TTL)
        if domain not in EXCHANGERS:
            raise NoSuchDomain(f"{domain} does not exist")
        return MailExchangers(EXCHANGERS[domain], _TTL)

    def addresses(self, host: str, family: Family) -> HostAddresses:
        way = self._way(host)
        if way == "lie":
            return HostAddresses(("10.66.0.66",) if family is Family.A else (), _TTL)
        if family is Family.A and host in ADDRESSES:
            return HostAddresses((ADDRESSES[host],), _TTL)
        return HostAddresses((), _TTL)

    def find(self, name: str, kind: str) -> Found:
        """What MTA-STS and DANE ask for: nobody has any."""
        self._way(name)
        return Found(ttl=_TTL)

    def _way(self, name: str) -> str:
        """Empty: the truth.  Raises LookupFailed, or something that nobody foresaw."""
        chance = self._chance
        self._strands.sleep(chance.random() ** 3 * 0.2)
        if chance.random() >= self._names.odd:
            return ""
        way = chance.choice(["lie", "fail", "silence", "no such", "bug"])
        if way == "silence":
            self._strands.sleep(5.0)
        if way in ("fail", "silence"):
            raise LookupFailed(f"{name}: {way}")
        if way == "no such":
            raise NoSuchDomain(f"{name} does not exist")
        if way == "bug":
            raise RuntimeError("an answer that nobody foresaw")
        return way

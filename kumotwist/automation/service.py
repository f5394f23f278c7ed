"""
Automation as the server has it: hears what peers answer, finds the rules that fit, and lets them act.

Custody tells of each failure where the fact is decided, so delivered mail pays nothing.  What was heard is looked at in the
next turn of the reactor, when whoever told of it has finished.  Effects are on the spool's shelf before long; counts of
thresholds follow every few seconds, so a crash loses that much of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.automation.counting import Counts
from kumotwist.automation.effects import Effects, Seen
from kumotwist.automation.following import Following
from kumotwist.automation.overrides import Overrides
from kumotwist.automation.rules import Rule, RuleBook, Scope
from kumotwist.config.egress import PathSettings
from kumotwist.config.shaping import ShapingSettings
from kumotwist.custody import Hears, Told
from kumotwist.dns.resolver import Resolver
from kumotwist.logs.record import RecordType
from kumotwist.mail.disposition import Attempt
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reply import INTERNAL
from kumotwist.ready.service import ReadyQueues
from kumotwist.ready.standing import Shelve
from kumotwist.scheduled.administration import Administration

KEEP_COUNTS = 5.0  # seconds between two writings of what has been counted
_MOST_KNOWN = 20_000  # destinations whose rules are remembered

_HEARD = frozenset({RecordType.TRANSIENT_FAILURE, RecordType.BOUNCE})


class Automation:
    """
    The rules of `automation`, and what they have done.

    heard, fitted: responses that were looked at, and rules that they fitted, since the start.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        shelve: Shelve,
        new_id: Callable[[], str],
        ready: ReadyQueues,
        administration: Administration,
        rollup: Callable[[], Mapping[str, str]],
        resolver: Resolver | None = None,
    ) -> None:
        """
        new_id: for an order.  rollup: the sites that rule domains are known to have now.

        resolver: for what other nodes say of domains; None: nobody is followed.
        """
        self._clock = clock
        self._shelve = shelve
        self._ready = ready
        self._rollup = rollup
        self._book = RuleBook(ShapingSettings())
        self._counts = Counts()
        self.overrides = Overrides(clock, shelve, self._path_changed)
        self.effects = Effects(clock, new_id, ready, administration, self.overrides)
        self.following = Following(clock, self.effects, resolver, self._all_changed) if resolver is not None else None
        self._shaping = ShapingSettings()
        self._started = False
        self.heard = 0
        self.fitted = 0
        self._waiting: list[Seen] = []
        self._known: dict[tuple[str, str, str], tuple[Scope, ...]] = {}
        self._known_with: Mapping[str, str] | None = None  # the rollup that those were found with
        self._turn: IDelayedCall | None = None
        self._paths: set[str] = set()  # whose parameters changed
        self._asking: IDelayedCall | None = None
        self._keeping: IDelayedCall | None = None

    # Start, stop, configuration

    def configure(self, shaping: ShapingSettings) -> bool:
        """The rules from now on.  Whether there are any: else nothing need be heard."""
        self._book = RuleBook(shaping if shaping.automation else ShapingSettings())
        self._known.clear()
        self._shaping = shaping
        if self._started:
            self._follow()
        self.overrides.configure(self._book.rules)
        for name in self._book.idle:
            self.log.warn("provider {name} has rules of automation and no `match`: they never fit", name=name)
        return bool(self._book)

    def heed(self, shaping: ShapingSettings, tell: Callable[[Hears | None], None]) -> None:
        """The rules from now on; `tell` is told who is to hear of failures, or that nobody is."""
        tell(self.hear if self.configure(shaping) else None)

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> None:
        """What the spool's shelf has under `automation/`; before anything is admitted."""
        kept = list(shelved)
        self.overrides.load(kept)
        for key, fault in self._counts.load(kept):
            self.log.error("{key} on the spool's shelf counts nothing: {fault}; it is left there", key=key, fault=fault)

    def start(self) -> None:
        """Follow others; once all that is known from before is loaded."""
        self._started = True
        self._follow()

    def _follow(self) -> None:
        if self.following is not None:
            self.following.configure(self._shaping)

    def over(self, settings: PathSettings, source: str, site: str, domain: str) -> PathSettings:
        """The settings of a path with what automation has set there, of other nodes' first."""
        if self.following is not None:
            settings = self.following.over(settings, source, site, domain)
        return self.overrides.over(settings, source, site, domain)

    def stop(self) -> None:
        """Write down what was counted, and look at no clock any more."""
        if self.following is not None:
            self.following.stop()
        if self._turn is not None:
            self._turn.cancel()
            self._look()
        self._keep_counts()
        self.overrides.standing.stop()
        for call in (self._keeping, self._asking):
            if call is not None and call.active():
                call.cancel()

    # What is heard

    def hear(self, message: Message, attempt: Attempt, told: Told) -> None:
        """What became of an attempt; from custody.  Returns at once: the rules look at it in the next turn."""
        for kind, answer, recipients in told:
            if kind in _HEARD and recipients and recipients[0].user.lower() != "postmaster":
                seen = Seen(
                    line=answer.single_line,
                    domain=recipients[0].domain.lower(),
                    queue=parse_queue_name(message.queue),
                    path=attempt.site,
                    source=attempt.egress_source or "",
                    internal=answer.text.startswith(INTERNAL),
                    at=self._clock.seconds(),
                )
                self._waiting.append(seen)
        if self._waiting and self._turn is None:
            self._turn = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        self._turn = None
        waiting, self._waiting = self._waiting, []
        for seen in waiting:
            try:
                self.look_at(seen)
            except Exception:  # noqa: BLE001  a bug of ours must not keep the other responses from their rules
                self.log.failure("automation broke over a response for {queue}", queue=str(seen.queue))

    def look_at(self, seen: Seen) -> None:
        """Let all rules act that a response fits."""
        self.heard += 1
        scopes, site = self._scopes(seen)
        seen = replace(seen, site=site)
        for scope in scopes:
            for rule in scope.fitting(seen.line, internal=seen.internal):
                self.fitted += 1
                if self._triggers(rule, seen):
                    self.effects.act(rule, seen)

    def _triggers(self, rule: Rule, seen: Seen) -> bool:
        threshold = rule.said.trigger
        if threshold is None:
            return True
        where = seen.path or str(seen.queue)
        enough = self._counts.count(rule.id, where, limit=threshold.limit, period=threshold.period, at=seen.at)
        if self._keeping is None:
            self._keeping = self._clock.callLater(KEEP_COUNTS, self._keep_counts)
        return enough

    def _scopes(self, seen: Seen) -> tuple[tuple[Scope, ...], str]:
        """The rules about the destination of a response, and the name of its site."""
        rollup = self._rollup()
        if rollup is not self._known_with or len(self._known) > _MOST_KNOWN:
            self._known.clear()
            self._known_with = rollup
        queue = self._ready.find(seen.path) if seen.path else None
        if queue is not None:
            site = queue.path.destination.site
        else:
            site = seen.path.removeprefix(f"{seen.source}->").rpartition("@")[0]
        key = (seen.path, seen.domain, seen.queue.routed_to.lower())
        known = self._known.get(key)
        if known is None:
            hosts: tuple[str, ...] = ()
            if queue is not None and queue.path.destination.is_mx:
                hosts = tuple(host.name for group in queue.path.destination.groups for host in group)
            known = self._book.scopes(rollup, domains=dict.fromkeys(key[1:]), site=site, mx_hosts=hosts)
            if queue is not None:
                self._known[key] = known
        return known, site

    # What follows

    def _keep_counts(self) -> None:
        if self._keeping is not None and self._keeping.active():
            self._keeping.cancel()
        self._keeping = None
        self._counts.prune(self._clock.seconds())
        changed: Sequence[tuple[str, bytes | None]] = self._counts.take_changed()
        if changed:
            self._shelve(changed).addErrback(self._not_kept)
        if len(self._counts):
            self._keeping = self._clock.callLater(KEEP_COUNTS, self._keep_counts)

    def _not_kept(self, failure: Failure) -> None:
        self.log.failure("the counts of automation could not be put on the spool's shelf", failure)

    def _path_changed(self, path: str) -> None:
        """Asked for once, when all that changes now has changed."""
        self._paths.add(path)
        if self._asking is None:
            self._asking = self._clock.callLater(0, self._ask)

    def _all_changed(self) -> None:
        for queue in self._ready:
            self._path_changed(queue.name)

    def _ask(self) -> None:
        self._asking = None
        paths, self._paths = self._paths, set()
        for path in paths:
            self._ready.ask_again(path)

"""Section `suppression`, with what can be wrong about a rule beyond the types of its parameters."""

from collections.abc import Collection

from kumotwist.config.bounces import BounceClassifierSettings
from kumotwist.config.fields import nearest, shown
from kumotwist.config.placed import Items, Placed, Table
from kumotwist.config.reading import Reading, values_of
from kumotwist.config.suppression import ANY_CLASS, SuppressionRule, SuppressionSettings

_WITHOUT_CLASS = "Feedback"


def read_suppression(reading: Reading, given: Placed, classifier: BounceClassifierSettings | None) -> SuppressionSettings:
    """
    The rules in the order of the file.

    classifier: whose classes rules may name; None: not known here, because the policy may configure it.
    """
    section = reading.table(given, "suppression")
    reading.settings(SuppressionSettings, section, "suppression", leave=("rules",))
    entry = section.entries.get("rules")
    if entry is None:
        return SuppressionSettings()
    known = None if classifier is None else {rule.label for rule in classifier.rules}
    rules = [_rule(reading, reading.table(item, "rules"), known) for item in reading.items(entry.value, "rules")]
    return SuppressionSettings(rules=tuple(rule for rule in rules if rule is not None))


def _rule(reading: Reading, table: Table, known: Collection[str] | None) -> SuppressionRule | None:
    settings = reading.settings(SuppressionRule, table, "a rule of suppression")
    if "record_types" not in table.entries:
        reading.note(table, "suppression", "record_types is missing, expected types such as [Bounce, OOB, Feedback]")
    if "record_types" not in settings:
        return None
    rule = SuppressionRule(**values_of(settings))
    named = table.entries["record_types"].value
    if isinstance(named, Items) and not named.items:
        reading.note(named, "record_types", "nothing, expected at least one type")
    classified = [kind for kind in rule.record_types if kind != _WITHOUT_CLASS]
    if classified and not rule.classes:
        what = f"classes is missing, expected those of {', '.join(classified)} that count, or [{ANY_CLASS}]"
        reading.note(table, "suppression", what)
    if known is not None:
        _check_classes(reading, table, known)
    return rule


def _check_classes(reading: Reading, table: Table, known: Collection[str]) -> None:
    """A class that no rule of the classifier gives would never be seen."""
    entry = table.entries.get("classes")
    for item in reading.items(entry.value, "classes") if entry is not None else ():
        name = getattr(item, "text", None)
        if name is None or name in known or name == ANY_CLASS:
            continue
        meant = nearest(name, known)
        hint = f"did you mean {meant}?" if meant else "expected one that section bounce_classifier gives"
        reading.note(item, "classes", f"no rule gives the class {shown(name)}, {hint}")

"""
Families in the two forms in which they are told: Prometheus' text, and the model's JSON.

prometheus-client's own writer takes 10 µs a sample; with ten thousand queues a scrape would stop the mail for half a second.
This one takes a tenth of that, and can be gone through in portions.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from kumotwist.metrics.family import Family, Histogram, Kind, Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PORTION = 1000  # samples

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def as_text(families: Iterable[Family], prefix: str = "") -> Iterator[str]:
    """
    Prometheus' text format 0.0.4, in pieces of at most PORTION samples, so that whoever writes them may pause.

    prefix: put before each name.
    """
    for family in families:
        name = prefix + family.name
        head = f"# HELP {name} {_one_line(family.help)}\n# TYPE {name} {family.kind.value}\n"
        samples = iter(family.samples)
        while portion := list(islice(samples, PORTION)):
            yield head + _lines(name, family, portion)
            head = ""


def _lines(name: str, family: Family, portion: Sequence[tuple[Labels, Any]]) -> str:
    """A portion of a family.  Where nothing has to be escaped, which is usual, at a fifth of the price."""
    labels = family.labels
    if family.kind is Kind.HISTOGRAM:
        return "".join([_histogram_lines(name, labels, values, sample) for values, sample in portion])
    together = "".join(["".join(values) for values, _ in portion])
    if not labels or _escaped(together) is not together:
        return "".join([_line(name, labels, values, sample) for values, sample in portion])
    if len(labels) == 1:
        opening = f'{name}{{{labels[0]}="'
        return "".join([f'{opening}{values[0]}"}} {sample}\n' for values, sample in portion])
    pattern = ",".join([label + '="%s"' for label in labels])
    line = f"{name}{{{pattern}}} %s\n"
    return "".join([line % (*values, sample) for values, sample in portion])


def as_json(families: Iterable[Family], prefix: str = "") -> dict[str, Any]:
    """The model's form: name → help, type, value."""
    found: dict[str, Any] = {}
    for family in families:
        samples = [(values, _plain(sample)) for values, sample in family.samples]
        if not samples:
            continue
        told: Any
        if not family.labels:
            told = samples[0][1]
        elif len(family.labels) == 1:
            told = {family.labels[0]: {values[0]: value for values, value in samples}}
        else:
            told = [{**dict(zip(family.labels, values, strict=True)), "@": value} for values, value in samples]
        found[prefix + family.name] = {"help": family.help, "type": family.kind.value, "value": told}
    return found


def _plain(sample: float | Histogram) -> Any:
    if not isinstance(sample, Histogram):
        return sample
    count = sample.count
    buckets = [[bound, cumulative] for bound, cumulative in _cumulative(sample)]
    return {"count": count, "sum": sample.total, "avg": sample.total / count if count else 0.0, "bucket": buckets}


def _line(name: str, labels: Labels, values: Labels, sample: Any) -> str:
    return f"{name}{_braced(labels, values)} {sample}\n"


def _histogram_lines(name: str, labels: Labels, values: Labels, sample: Any) -> str:
    lines = [
        f"{name}_bucket{_braced((*labels, 'le'), (*values, str(bound)))} {cumulative}\n"
        for bound, cumulative in _cumulative(sample)
    ]
    count = sample.count
    lines.append(f"{name}_bucket{_braced((*labels, 'le'), (*values, '+Inf'))} {count}\n")
    braced = _braced(labels, values)
    lines.append(f"{name}_sum{braced} {sample.total}\n{name}_count{braced} {count}\n")
    return "".join(lines)


def _cumulative(sample: Histogram) -> Iterator[tuple[float, int]]:
    so_far = 0
    for bound, count in zip(sample.bounds, sample.counts, strict=False):
        so_far += count
        yield bound, so_far


def _braced(labels: Labels, values: Labels) -> str:
    if not labels:
        return ""
    if len(labels) == 1:
        return f'{{{labels[0]}="{_escaped(values[0])}"}}'
    pairs = [f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True)]
    return f"{{{','.join(pairs)}}}"


def _escaped(value: str) -> str:
    return value.translate(_ESCAPED) if "\\" in value or '"' in value or "\n" in value else value


def _one_line(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")

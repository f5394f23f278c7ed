"""What `top` draws: a screen of lines from what it remembers and what the user is looking at.  Pure."""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct, structs
from rich.text import Text

from kumotwist.cli.columns import cut
from kumotwist.cli.top_series import History, in_words

T = TypeVar("T")

TABS = ("Time series", "Heat maps", "Help")
SERIES, HEAT, HELP = range(len(TABS))
MOST_ZOOM = 64  # moments in one column

_LEVELS = " ▁▂▃▄▅▆▇█"
_HEAT = " ░▒▓█"
_LABEL, _VALUE = 30, 9
_HELP = (
    "q, Esc, Ctrl-C    leave",
    "Tab               the next page",
    "arrows, PageUp, PageDown, Home, End    move",
    "+ -               longer or shorter columns: more or fewer moments in each",
    "f                 show only lines whose name has these letters in this order; Enter ends it, Esc forgets it",
    "",
    "Each line's newest value is at the right, beside its name.  A gap: the server did not answer.",
    "What stands after /s is counted in a second; `avg ms` is the mean time of the events in that moment.",
    "On the heat maps a row is a range of times, and a column's darkness how many of its events fell there.",
)


class View(Struct, frozen=True, kw_only=True):
    """What the user looks at.  scroll: lines above the screen.  zoom: moments in a column.  typing: the filter is being typed."""

    tab: int = SERIES
    scroll: int = 0
    zoom: int = 1
    filter: str = ""
    typing: bool = False
    leaving: bool = False


_MOVES = {"up": -1, "down": 1, "left": -1, "right": 1}


def pressed(view: View, key: str, page: int) -> View:
    """The view after a key.  key: a character, or the name of a key without one.  page: lines of a screen."""
    if key == "ctrl-c":
        return structs.replace(view, leaving=True)
    if view.typing:
        return _typed(view, key)
    if key in ("q", "escape"):
        return structs.replace(view, leaving=True)
    if key == "tab":
        return structs.replace(view, tab=(view.tab + 1) % len(TABS), scroll=0)
    if key in ("+", "="):
        return structs.replace(view, zoom=min(view.zoom * 2, MOST_ZOOM))
    if key == "-":
        return structs.replace(view, zoom=max(view.zoom // 2, 1))
    if key == "f":
        return structs.replace(view, typing=True, filter="", scroll=0)
    scrolls = {"home": 0, "end": 10**6, "pageup": view.scroll - page, "pagedown": view.scroll + page}
    scrolls |= {name: view.scroll + step for name, step in _MOVES.items()}
    return structs.replace(view, scroll=max(scrolls[key], 0)) if key in scrolls else view


def _typed(view: View, key: str) -> View:
    if key == "escape":
        return structs.replace(view, typing=False, filter="")
    if key == "enter":
        return structs.replace(view, typing=False)
    if key == "backspace":
        return structs.replace(view, filter=view.filter[:-1])
    return structs.replace(view, filter=view.filter + key) if len(key) == 1 and key.isprintable() else view


def fits(wanted: str, label: str) -> bool:
    """Whether these letters stand in the label, in this order."""
    letters = iter(label.lower())
    return all(letter in letters for letter in wanted.lower().replace(" ", ""))


def picture(history: History, view: View, *, width: int, height: int, server: str, fault: str | None) -> list[Text]:
    """A screen of exactly `height` lines, none wider than `width`.  fault: why the server does not answer."""
    body = max(height - 2, 0)
    lines = _body(history, view, width)
    start = min(view.scroll, max(len(lines) - body, 0))
    shown = lines[start : start + body]
    shown += [Text()] * (body - len(shown))
    screen = [_heading(view, server, width), *shown, _footer(view, fault, len(lines) - start - body, width)]
    return screen[:height]


def _heading(view: View, server: str, width: int) -> Text:
    tabs = "  ".join(f"[{name}]" if n == view.tab else f" {name} " for n, name in enumerate(TABS))
    zoom = f"  {view.zoom} to a column" if view.zoom > 1 else ""
    return Text(cut(f"{tabs}  {server}{zoom}", width), "bold")


def _footer(view: View, fault: str | None, below: int, width: int) -> Text:
    if fault is not None:
        return Text(cut(fault.splitlines()[0], width), "bold red")
    if view.typing or view.filter:
        return Text(cut(f"filter: {view.filter}{'_' if view.typing else ''}", width), "cyan")
    more = f"  {below} more below" if below > 0 else ""
    return Text(cut(f"Tab: next page  f: filter  q: leave{more}", width), "dim")


def _body(history: History, view: View, width: int) -> list[Text]:
    if view.tab == HELP:
        return [Text(cut(line, width)) for line in _HELP]
    if view.tab == HEAT:
        names = [name for name in history.bounds if fits(view.filter, name)]
        return [line for name in names for line in heat_map(history, name, view.zoom, width)]
    return [spark(history, label, view.zoom, width) for label in history.labels if fits(view.filter, label)]


def spark(history: History, label: str, zoom: int, width: int) -> Text:
    """One line: the past as a row of bars, then the value of now and the label."""
    values = history.series(label)
    room = max(width - _LABEL - _VALUE - 2, 0)
    line = Text(bars(values, zoom, room), "green")
    line.append(f" {in_words(label, values[-1] if values else None):>{_VALUE}} ", "bold")
    line.append(f"{cut(label, _LABEL)}")
    line.truncate(width)
    return line


def bars(values: Sequence[float | None], zoom: int, room: int) -> str:
    """So many characters, the newest at the right; a bar shows the mean of what it stands for, the highest is full."""
    means: list[float | None] = []
    for column in in_columns(values, zoom, room):
        known = [value for value in column if value is not None]
        means.append(sum(known) / len(known) if known else None)
    highest = max((value for value in means if value is not None), default=0.0)
    return "".join(" " if value is None else _LEVELS[_level(value, highest, len(_LEVELS))] for value in means).rjust(room)


def _level(value: float, highest: float, levels: int) -> int:
    """0 for nothing; anything else can be seen."""
    if value <= 0 or highest <= 0:
        return 0
    return max(1, min(levels - 1, round(value / highest * (levels - 1))))


def in_columns(values: Sequence[T], zoom: int, room: int) -> list[Sequence[T]]:
    """The newest values, `zoom` to a column.  Columns end at fixed places of the past, so that they do not flicker."""
    first = max(0, -(-len(values) // zoom) - room) * zoom
    return [values[start : start + zoom] for start in range(first, len(values), zoom)][-room:] if room > 0 else []


def heat_map(history: History, name: str, zoom: int, width: int) -> list[Text]:
    """A histogram over time: a row for each bucket that had events, the slowest first."""
    room = max(width - _VALUE - 1, 0)
    columns = [_summed(column) for column in in_columns(history.heat(name), zoom, room)]
    bounds = [*(f"{bound:g}" for bound in history.bounds[name]), "more"]
    lines = [Text(cut(name, width), "bold")]
    for bucket in reversed(range(len(bounds))):
        shares = [column[bucket] / sum(column) if column and sum(column) else 0.0 for column in columns]
        if any(shares):
            row = "".join(_HEAT[_level(share, 1.0, len(_HEAT))] for share in shares).rjust(room)
            lines.append(Text(row, "yellow").append(f" {bounds[bucket]:>{_VALUE}}", "default"))
    return [*lines, Text()] if len(lines) > 1 else []


def _summed(column: Sequence[tuple[float, ...] | None]) -> list[float]:
    """New events of several moments, by bucket; buckets that changed in between are not mixed."""
    known = [events for events in column if events is not None]
    return [sum(bucket) for bucket in zip(*known, strict=True)] if len({len(events) for events in known}) == 1 else []

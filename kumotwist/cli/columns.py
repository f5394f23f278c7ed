"""Tables of text: columns with one space between, as wide as they must be and no wider than the terminal.  Pure."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size

from kumotwist.cli.terminal import escaped

_NARROWEST = 8  # cells that a column keeps, however narrow the terminal


def columns(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    keep: Collection[int] = (),
    width: int | None = None,
) -> list[str]:
    """
    A table's lines, its headings first.

    right: columns whose numbers stand at the right.  width: cells of the terminal; None: nothing is cut.  Where the table is
    too wide, its widest columns are cut, but never those at the right, nor those in `keep`: an id is of no use without its end.
    """
    cells = [[escaped(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if width is not None:
        widths = fitted(widths, width, keep={*right, *keep})
    return [_line(row, widths, right) for row in cells]


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    cells = (_padded(cell, size, n in right) for n, (cell, size) in enumerate(zip(row, widths, strict=True)))
    return " ".join(cells).rstrip()


def fitted(widths: Sequence[int], width: int, keep: Collection[int] = ()) -> list[int]:
    """Widths that fit beside each other: the widest are taken from, evenly, down to a few cells each."""
    fitting = list(widths)
    spare = width - (len(fitting) - 1) - sum(fitting)
    while spare < 0:
        widest = max((n for n in range(len(fitting)) if n not in keep), key=lambda n: fitting[n], default=None)
        if widest is None or fitting[widest] <= _NARROWEST:
            break
        others = [fitting[n] for n in range(len(fitting)) if n != widest and n not in keep]
        step = min(-spare, max(1, fitting[widest] - max([_NARROWEST, *others])))
        fitting[widest] -= step
        spare += step
    return fitting


def cut(text: str, size: int) -> str:
    """A text in at most so many cells; what is cut ends with an ellipsis."""
    return text if cell_len(text) <= size else set_cell_size(text, size - 1) + "…" if size > 0 else ""


def _padded(text: str, size: int, at_right: bool) -> str:
    text = cut(text, size)
    gap = " " * (size - cell_len(text))
    return gap + text if at_right else text + gap


def facts(pairs: Sequence[tuple[str, str]], width: int | None = None) -> list[str]:
    """Labels with what belongs to them, one below the other."""
    label_width = max((len(label) for label, _ in pairs), default=0) + 2
    lines = (f"{label + ':':{label_width}}{escaped(text)}" for label, text in pairs)
    return [line if width is None else cut(line, width) for line in lines]

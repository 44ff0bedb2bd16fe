"""Draws what each slave did and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.calls import PLAIN
from ..errors import MpiTasksError
from .farm import Span
from .report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#997700", "#004488", "#994455", "#bbbbbb")
"""Paul Tol's, which the colour-blind can tell apart; the last one is for all that come after."""
ACQUIRING = "#222222"
MOST_NAMED = len(COLOURS) - 1
MOST_SEAMS = 3_000
"""Calls that are set apart by a seam; more would be all seam."""


class DrawingError(MpiTasksError):
    """The picture can't be drawn here."""


def check_drawable(path: Path) -> None:
    """Whether a picture can be drawn into a file of that name.

    Raises:
        DrawingError: matplotlib is not there, or does not know that kind of file.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  only who draws needs it
    except ImportError as error:
        msg = 'drawing needs matplotlib, which is not installed: pip install "mpitasks[plot]"'
        raise DrawingError(msg) from error
    known = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix and path.suffix[1:].lower() not in known:
        msg = f"can't draw into {str(path)!r}: no such kind of picture; known: {', '.join(known)}"
        raise DrawingError(msg)


def draw(report: Report, path: Path) -> None:
    """Draw the schedule of a recorded run into a PNG, SVG or PDF, by the file's name.

    Raises:
        DrawingError: matplotlib is not there, or does not know that kind of file.
    """
    check_drawable(path)
    import matplotlib as mpl  # noqa: PLC0415  only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415  as above

    colours = _colours(report.spans)
    figure = Figure(figsize=(10, min(20.0, 1.6 + 0.28 * report.slaves)), layout="constrained")
    axes = figure.add_subplot()
    _draw_spans(axes, report, colours)
    _draw_labels(axes, report)
    _draw_legend(figure, report, colours)
    with mpl.rc_context({"svg.hashsalt": report.workload}):  # the same schedule gives the same file
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_spans(axes: Axes, report: Report, colours: dict[str, str]) -> None:
    """A bar a call; the time to acquire, black."""
    by_rank: defaultdict[int, list[Span]] = defaultdict(list)
    for span in report.spans:
        by_rank[span.rank].append(span)
    by_resource = _is_by_resource(report.spans)
    for rank, spans in by_rank.items():
        place = (rank - 0.42, 0.84)
        axes.broken_barh(
            [(span.acquired, span.end - span.acquired) for span in spans],
            place,
            facecolors=[colours[_name(span, by_resource=by_resource)] for span in spans],
            edgecolor="white",
            linewidth=0.3 if len(report.spans) < MOST_SEAMS else 0.0,
        )
        acquired = [(span.begin, span.acquired - span.begin) for span in spans if span.acquired > span.begin]
        axes.broken_barh(acquired, place, facecolors=ACQUIRING)


def _draw_labels(axes: Axes, report: Report) -> None:
    axes.axvline(report.bound, color=ACQUIRING, linestyle="--", linewidth=1)
    axes.set_title(
        f"{report.workload}, {report.slaves} slaves, run {report.run}: {report.makespan:,.1f} s; "
        f"dashed: the bound, {report.bound:,.1f} s",
        loc="left",
        fontsize=10,
    )
    axes.set_xlabel("seconds")
    axes.set_ylabel("slave")
    axes.set_xlim(0, max(report.makespan, report.bound) * 1.01)
    axes.set_ylim(report.slaves + 0.6, 0.4)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legend(figure: Figure, report: Report, colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415  only who draws needs it

    patches = [Patch(color=colour, label=name) for name, colour in list(colours.items())[:MOST_NAMED]]
    if len(colours) > MOST_NAMED:
        patches.append(Patch(color=COLOURS[-1], label=f"{len(colours) - MOST_NAMED} more"))
    if any(span.acquired > span.begin for span in report.spans):
        patches.append(Patch(color=ACQUIRING, label="acquiring"))
    figure.legend(handles=patches, loc="outside right upper", frameon=False, fontsize=8)


def _is_by_resource(spans: Sequence[Span]) -> bool:
    """Colours tell resources where there is one queue, else queues."""
    return len({span.queue for span in spans}) == 1 and any(span.resource is not PLAIN for span in spans)


def _name(span: Span, *, by_resource: bool) -> str:
    return str(span.resource) if by_resource else span.queue


def _colours(spans: Sequence[Span]) -> dict[str, str]:
    """The colour of each name, in the order of the names."""
    by_resource = _is_by_resource(spans)
    names = sorted({_name(span, by_resource=by_resource) for span in spans})
    return {name: COLOURS[min(number, MOST_NAMED)] for number, name in enumerate(names)}

"""Describe a dataset to the person who looks at it: what it is, how good it is, what to type next; text and HTML."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass

import xarray as xr

from flatnorm_xr.show.description_facts import facts_of, next_step_of, rows_from, title_of, warnings_from

__all__ = ["Description", "describe_dataset"]

LONGEST = 160
"""Characters of a value that HTML shows; the whole is in its title."""

_MOST_LINES = 3
"""Lines that text gives to one value."""


@dataclass(frozen=True)
class Description:
    """What is said of a dataset.

    Attributes
    ----------
    title : str
        What it is, in one line.
    rows : tuple of (str, str)
        Names and values, in the order in which they are read; one line each, whatever the dataset's labels hold.
    warnings : tuple of str
        What deserves a look before anything is done with it; usually empty.
    next_step : str
        A line of Python that can be typed next.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    next_step: str

    def text(self, width: int = 80) -> str:
        """Lines of at most ``width`` characters (but the next step is never cut), without a line end after the last."""
        rows = [*self.rows, *(("warning", warning) for warning in self.warnings)]
        indent = 4 + max((len(name) for name, _ in (*rows, ("next", ""))), default=0)
        lines = [_shortened(self.title, max(width, 20))]
        for name, value in rows:
            lines += textwrap.wrap(
                value,
                max(width, indent + 20),
                initial_indent=f"  {name}".ljust(indent),
                subsequent_indent=" " * indent,
                max_lines=_MOST_LINES,
                placeholder=" ...",
            )
        return "\n".join([*lines, f"  {'next'.ljust(indent - 2)}{self.next_step}"])

    def html(self) -> str:
        """Small table that takes the colours of the page it stands in; nothing in it runs, everything is escaped."""
        rows = [_html_row(name, value) for name, value in self.rows]
        rows += [_html_row("warning", warning, weight="bold") for warning in self.warnings]
        return (
            '<div class="flatnorm-description" style="overflow-x: auto;">'
            f'<div style="font-weight: bold; padding: 2px 0; overflow-wrap: anywhere;">{_html_text(self.title)}</div>'
            '<table style="border-collapse: collapse; border: none; font-size: inherit; margin: 0;"><tbody>'
            f"{''.join(rows)}{_html_row('next', self.next_step, code=True)}</tbody></table></div>"
        )


def describe_dataset(ds: xr.Dataset) -> Description:
    """Describe any dataset, from the dataset alone.

    Parameters
    ----------
    ds : Dataset
        Levels, a solution or a diagnosis; anything else is said to be neither. Never an error: what cannot be
        understood is left out and said. Values of a large dataset that are not in memory are not computed.

    Returns
    -------
    Description
        It renders itself: ``text(width)``, ``html()``.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> describe_dataset(fx.make([[50.0, 100.0], [150.0, 300.0]])).next_step
    'sol = ds.flatnorm.solve()'
    """
    facts = facts_of(ds)
    return Description(
        title=title_of(facts), rows=rows_from(facts), warnings=warnings_from(facts), next_step=next_step_of(facts)
    )


def _html_row(name: str, value: str, *, weight: str = "normal", code: bool = False) -> str:
    cell = "border: none; background: transparent; text-align: left; vertical-align: top; padding: 1px 12px 1px 0;"
    content = _html_text(value)
    return (
        f'<tr style="background: transparent;"><th scope="row" style="{cell} font-weight: normal; opacity: 0.7; '
        f'white-space: nowrap;">{_html_text(name)}</th><td style="{cell} font-weight: {weight}; white-space: normal; '
        f'overflow-wrap: anywhere; max-width: 50em;">{f"<code>{content}</code>" if code else content}</td></tr>'
    )


def _html_text(value: str) -> str:
    if len(value) <= LONGEST:
        return html.escape(value)
    return f'<span title="{html.escape(value)}">{html.escape(_shortened(value, LONGEST))}</span>'


def _shortened(value: str, longest: int) -> str:
    return value if len(value) <= longest else f"{value[: longest - 3]}..."

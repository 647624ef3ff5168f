"""How far a long job is: one bar on a terminal, a line now and then in a log, nothing where nobody asked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["counted", "waiting"]

T = TypeVar("T")

_SHARE = 0.1
"""A log gets a line when at least this share of the job was done since the last one ..."""

_PAUSE = 10.0
"""... and at least so many seconds went by."""


@contextmanager
def counted(
    items: Sequence[T],
    what: str,
    *,
    wanted: bool = True,
    noun: str = "files",
    keep: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Iterator[T]]:
    """Give the items one by one, and show on standard error how many of them are done.

    On a terminal that is one bar with the number done, the rate and the time left; elsewhere, as in a log, at most ten
    lines, and none for a job of a few seconds.

    Parameters
    ----------
    items : sequence
        What the work is done on; an item counts as done when the next one is asked for.
    what : str
        Name of the work.
    wanted : bool
        False shows nothing.
    noun : str
        What the items are, in the plural.
    keep : bool
        Whether the bar stays on the terminal when all is done.
    clock : callable
        Seconds since any moment.

    Yields
    ------
    iterator
        Of the items, in order. What is shown ends with the context, also when that fails.

    Examples
    --------
    >>> with counted([1, 2, 3], "double", wanted=False) as numbers:
    ...     [2 * number for number in numbers]
    [2, 4, 6]
    """
    if not wanted or not items or sys.stderr is None:
        yield iter(items)
    elif _on_terminal():
        with _bar(len(items), what, noun, keep) as advance:
            yield _advancing(items, advance)
    else:
        yield _with_lines(items, what, noun, clock)


@contextmanager
def waiting(what: str, *, wanted: bool = True) -> Iterator[None]:
    """Show on a terminal that work is going on, and for how long; gone when it is done.

    Parameters
    ----------
    what : str
        Name of the work.
    wanted : bool
        False shows nothing.
    """
    if not wanted or not _on_terminal():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(what, total=None)
        yield


def _on_terminal() -> bool:
    """Whether a bar can be drawn; a dumb terminal cannot take back what it has shown."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def _bar(total: int, what: str, noun: str, keep: bool) -> Iterator[Callable[[], None]]:
    """Show a bar, and give what moves it by one."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Figures(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            left = None if task.finished else task.time_remaining
            return Text(_figures(int(task.completed), total, noun, rate, left))

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        Figures(table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=not keep, expand=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)


def _advancing(items: Iterable[T], advance: Callable[[], None]) -> Iterator[T]:
    for item in items:
        yield item
        advance()


def _with_lines(items: Sequence[T], what: str, noun: str, clock: Callable[[], float]) -> Iterator[T]:
    total, start = len(items), clock()
    said_at, said = start, 0
    for done, item in enumerate(items, 1):
        yield item
        now = clock()
        late = now - said_at >= _PAUSE and (done - said >= _SHARE * total or (done == total and said > 0))
        if late:
            rate = done / (now - start)
            line = _figures(done, total, noun, rate, (total - done) / rate if done < total else None)
            print(f"flatnorm: {what}: {line}", file=sys.stderr, flush=True)
            said_at, said = now, done


def _figures(done: int, total: int, noun: str, rate: float | None, left: float | None) -> str:
    """Put the number done, the rate and the seconds left into words."""
    words = [f"{done} of {total} {noun}"]
    if rate is not None:
        words.append(f"{rate:.3g}/s" if rate >= 0.1 else f"{1 / max(rate, 1e-9):.3g} s each")
    if left is not None:
        words.append(f"{_clock_time(left)} left")
    return ", ".join(words)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

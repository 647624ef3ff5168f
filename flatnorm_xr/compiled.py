"""Compile a function of arrays on first use, and keep the machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["compiled"]

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, reorder: bool = False) -> Callable[[Function], Function]:
    """Compile on first use, once for each data type, and keep the machine code where the user may write.

    ``reorder`` lets sums be taken in any order, which makes them fast; NaN and infinity stay what they are.
    """
    import numba

    fastmath = {"reassoc", "nsz", "contract"} if reorder else False

    def compile_function(function: Function) -> Function:
        try:
            dispatcher = numba.njit(nogil=True, cache=True, fastmath=fastmath)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            dispatcher = numba.njit(nogil=True, fastmath=fastmath)(function)
        return cast("Function", dispatcher)

    return compile_function

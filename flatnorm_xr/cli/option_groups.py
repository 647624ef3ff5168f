"""Options that go together, given to a command in place of one parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["with_group"]


def with_group(
    name: str, options: Callable[..., None], make: Callable[[dict[str, Any]], Any], **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter ``name`` of a command by the options of a group.

    Parameters
    ----------
    name : str
        Parameter of the command that takes what was asked.
    options : callable
        Carries the options as its parameters; never called.
    make : callable
        Makes the argument of the values that were asked for, by name.
    **defaults
        Defaults that differ from those of ``options``.
    """
    extra = inspect.signature(options, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_options(**given: Any) -> None:
            asked = {one: given.pop(one) for one in extra}
            command(**given, **{name: make(asked)})

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name == name:
                parameters += [
                    option.replace(default=defaults.get(one, option.default)) for one, option in extra.items()
                ]
            else:
                parameters.append(parameter)
        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        with_options.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
        with_options.__doc__, with_options.__name__ = command.__doc__, command.__name__
        return with_options

    return decorate

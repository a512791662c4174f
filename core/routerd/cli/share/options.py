"""Groups of options that a command gets as one value."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Given = Mapping[str, Any]  # Any: click has converted each value
Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def all_of(options: Sequence[Decorator]) -> Decorator:
    """Return what adds options to a command, in the order in which its help shows them."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def gathered(name: str, options: Sequence[Decorator], make: Callable[[Given], object]) -> Decorator:
    """Return what adds options to a command, which gets as `name` what `make` makes of their values."""
    probe = all_of(options)(lambda: None)
    names = [option.name for option in probe.__click_params__]  # type: ignore[attr-defined]  # click sets it

    def add(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapped(**values: object) -> None:
            given = {each: values.pop(each) for each in names}
            function(**values, **{name: make(given)})

        return all_of(options)(wrapped)

    return add

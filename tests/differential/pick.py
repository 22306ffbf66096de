"""Choices that requests are drawn from. A `random.Random` makes them: the same seed brings the same requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any


class Choice:
    """Something that can be drawn, any number of times."""

    def __init__(self, draw: Callable[[Random], Any]) -> None:
        self.draw = draw


Draw = Callable[[Choice], Any]


def drawer(chance: Random) -> Draw:
    """Return what draws from choices by this chance."""
    return lambda choice: choice.draw(chance)


def sampled_from(items: Sequence[Any]) -> Choice:
    return Choice(lambda chance: chance.choice(items))


def one_of(*choices: Choice) -> Choice:
    return Choice(lambda chance: chance.choice(choices).draw(chance))


def integers(low: int, high: int) -> Choice:
    """Both ends included."""
    return Choice(lambda chance: chance.randint(low, high))


def booleans() -> Choice:
    return sampled_from([False, True])


def lists(choice: Choice, *, min_size: int = 0, max_size: int, unique: bool = False) -> Choice:
    def draw(chance: Random) -> list[Any]:
        items = [choice.draw(chance) for _ in range(chance.randint(min_size, max_size))]
        return list(dict.fromkeys(items)) if unique else items

    return Choice(draw)


def permutations(items: Sequence[Any]) -> Choice:
    return Choice(lambda chance: chance.sample(items, len(items)))


def some_of(choices: dict[str, Choice]) -> Choice:
    """A document with each of the attributes, or without it."""
    return Choice(
        lambda chance: {
            name: choice.draw(chance) for name, choice in choices.items() if chance.random() < 0.5
        }
    )

"""What a key map yields, and the renaming that most of them need."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, NamedTuple

from torch import Tensor, nn


class Renamed(NamedTuple):
    """A tensor for the model.

    Attributes:
        name (str): the detector's name for it, ``img_backbone.`` first.
        value (Tensor): in the model's shape.
        sources (tuple of str): the checkpoint's keys it was made of.
    """

    name: str
    value: Tensor
    sources: tuple[str, ...]


class Dropped(NamedTuple):
    """Keys that a map leaves out on purpose.

    Attributes:
        keys (sequence of str): of the checkpoint.
        why (str): what they are, for the log.
    """

    keys: tuple[str, ...]
    why: str


#: checkpoint's tensors and the module that asks for them -> what fits
KeyMap = Callable[[dict[str, Tensor], nn.Module], Iterable[Renamed | Dropped]]


def rename_prefixes(
    state: dict[str, Tensor], prefixes: dict[str, str]
) -> Iterator[Renamed]:
    """Replace the first matching prefix of each key.

    Keys without one are not yielded, and so end up in the log as unused.
    """
    for key, value in state.items():
        for old, new in prefixes.items():
            if key.startswith(old):
                yield Renamed(new + key.removeprefix(old), value, (key,))
                break


def drop_prefixes(
    state: dict[str, Tensor], prefixes: tuple[str, ...], why: str
) -> Iterator[Dropped]:
    """Drop the keys with one of the prefixes; nothing where none has."""
    keys = tuple(key for key in state if key.startswith(prefixes))
    if keys:
        yield Dropped(keys, why)


def take_fitting(
    items: Iterable[Renamed], module: nn.Module, why: str
) -> Iterator[Renamed | Dropped]:
    """Those that have a place of their shape in a module; the rest drops.

    Args:
        items: of a part that the module may have in another form.
        module: what is initialised.
        why: what the others are, for the log.
    """
    own = module.state_dict()
    keys: list[str] = []
    for item in items:
        place = own.get(item.name)
        if place is not None and place.shape == item.value.shape:
            yield item
        else:
            keys += item.sources
    if keys:
        yield Dropped(tuple(dict.fromkeys(keys)), why)

"""What a config is: what it changes, what it builds, what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Mapping

from mmengine.config import Config
from mmengine.registry import MODELS

from occsplat.data.inventory import files_read

from .config_file import RUN_KEYS
from .errors import build_errors

_NOTHING = object()
#: characters of a value that are shown
_SHOWN = 60


def baseline_of(path: str | Path) -> Path | None:
    """The config that a config adds to.

    The nearest one that its ``_base_`` leads to, not below ``_base_/``, in
    the folder of another method; in its own folder where there is none.

    Args:
        path: a config that can be read, see ``load_config``.
    """
    path = Path(path).resolve()
    found: list[Path] = []
    files = _bases(path)
    while files:
        file = files.pop(0)
        if '_base_' in file.parts:
            continue
        found.append(file)
        files += _bases(file)
    others = [file for file in found if file.parent != path.parent]
    return next(iter([*others, *found]), None)


def _bases(path: Path) -> list[Path]:
    """What a config file names in ``_base_``."""
    named = Config._get_base_files(str(path))
    return [(path.parent / base).resolve() for base in named]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines ``key: old -> new``, of what a run reads of two configs.

    Lists of dicts with a ``type`` are compared step by step, by type, and
    so that a step more changes nothing of the others.

    Args:
        old, new: content of configs, with plain dicts inside.
    """
    kept = ({k: v for k, v in c.items() if k in RUN_KEYS} for c in (old, new))
    return [
        f'{path}: {_shown(before)} -> {_shown(after)}'
        for path, before, after in _different(*kept, path='')
    ]


def parameter_counts(cfg: Config) -> dict[str, tuple[int, int]]:
    """Parameters of each part of the network, and those that learn.

    Args:
        cfg: the config. The network is built on the CPU, without its
            weights.

    Raises:
        ConfigError: when it can't be built.
    """
    with build_errors(cfg):
        model = MODELS.build(cfg.model)
    parts = dict(model.named_children())
    return {
        name: (
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in parts.items()
    }


def needed_files(cfg: Config) -> dict[str, tuple[str, ...]]:
    """Files that the loaders of a config read of each key frame.

    Args:
        cfg: the config.

    Returns:
        dict: fields of a record by split, see ``files_read``.

    Raises:
        ConfigError: when a transform can't be built.
    """
    needed = {}
    for split in ('train', 'val'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        data = loader.dataset
        steps = (*data.pipeline, *data.get('extra_transforms', ()))
        with build_errors(cfg):
            needed[split] = files_read(steps)
    return needed


def _different(
    old: Any, new: Any, path: str
) -> Iterator[tuple[str, Any, Any]]:
    """Key path, old and new value; ``_NOTHING`` where there is none."""
    steps = isinstance(old, (list, tuple)) and isinstance(new, (list, tuple))
    old, new = _by_type(old), _by_type(new)
    # what is new as a whole, or gone, is told key by key
    if old is _NOTHING and isinstance(new, dict) and new:
        old = {}
    if new is _NOTHING and isinstance(old, dict) and old:
        new = {}
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield path, old, new
        return
    common = [[k for k in a if k in b] for a, b in ((old, new), (new, old))]
    if steps and common[0] != common[1]:
        yield f'{path} (order)', *common
    for key in [*old, *(key for key in new if key not in old)]:
        here = f'{path}.{key}' if path else str(key)
        yield from _different(
            old.get(key, _NOTHING), new.get(key, _NOTHING), here
        )


def _by_type(value: Any) -> Any:
    """A list of typed dicts as a dict; others as they are."""
    typed = isinstance(value, (list, tuple)) and all(
        isinstance(item, dict) and 'type' in item for item in value
    )
    if not typed:
        return list(value) if isinstance(value, tuple) else value
    named: dict[str, Any] = {}
    for item in value:
        kind = item['type']
        name = kind if isinstance(kind, str) else kind.__name__
        same = sum(key.partition('#')[0] == name for key in named)
        named[f'{name}#{same + 1}' if same else name] = item
    return named


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return '(none)'
    text = ' '.join(repr(value).split())
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'

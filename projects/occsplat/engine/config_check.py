"""Find a config's typos before anything is built.

mmengine merges a misspelt key silently, and the constructor that gets it
much later raises a TypeError that does not say where in the config.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import cache
from typing import Any, Iterator

import mmdet3d.registry
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry, init_default_scope

from .config_file import RUN_KEYS
from .config_labels import Resolve, label_problems, spread_labels
from .config_readers import argument_classes, build_plain, reader_at
from .config_values import value_problems
from .errors import ConfigError

# Keys that a builder takes away before the constructor sees them.
_BUILDER_KEYS = {
    '_scope_',  # Registry.build
    'type',
    'priority',  # Runner.register_hook
    'convert_to_iter_based',  # Runner.build_param_scheduler
    'constructor',  # build_optim_wrapper
    'paramwise_cfg',
}
# Places where a dict may have a type, or leave it to the Runner.
_TYPED_PLACES = (
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'log_processor',
    'optim_wrapper',
)
# Dicts whose arguments go to functions of mmcv, with rules of their own.
_LAYER_KEYS = ('conv_cfg', 'init_cfg', 'plugins', 'upsample_cfg')
# Those of which the rules are known: what mmcv takes away itself.
_LAYER_BUILDER_KEYS = dict(norm_cfg={'requires_grad'}, act_cfg=set())


def check_config(cfg: Config) -> None:
    """Spread ``labels``, and check every ``type`` and its arguments.

    Walks what the Runner reads. A type that takes ``**kwargs`` is checked
    against its base classes, which they are handed on to; where that does
    not settle what is allowed, only the dicts inside are checked.

    Args:
        cfg (Config): with its ``custom_imports`` done.

    Raises:
        ConfigError: names the config file, the key path, what is wrong and
            the nearest name that exists.
    """
    if DefaultScope.get_current_instance() is None:
        init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    name = cfg.filename or 'config'
    resolve = cache(_resolve)  # a config says most names many times
    for problem in _problems(cfg.get('labels'), 'labels', resolve):
        raise ConfigError(f'{name}: {problem}')
    try:
        spread_labels(cfg, resolve)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{name}: labels: {error}') from error
    content = {k: v for k, v in cfg.to_dict().items() if k in RUN_KEYS}
    for problem in _all_problems(content, resolve):
        raise ConfigError(f'{name}: {problem}')


def _all_problems(content: dict[str, Any], resolve: Resolve) -> Iterator[str]:
    yield from value_problems(content)
    for key in sorted(content):
        yield from _problems(content[key], key, resolve)
    try:
        yield from label_problems(content, resolve)
    except ValueError as error:  # of a label spec or a grid
        yield str(error)


def _problems(node: Any, path: str, resolve: Resolve) -> Iterator[str]:
    """Everything wrong in a part of the config, outermost first."""
    if isinstance(node, (list, tuple)):
        for i, item in enumerate(node):
            yield from _problems(item, f'{path}[{i}]', resolve)
    if not isinstance(node, dict):
        return
    known = reader_at(path, node)
    kind = node.get('type')
    if known and not ('type' in node and path in _TYPED_PLACES):
        yield from _bare(node, path, *known)
    elif isinstance(kind, str) or inspect.isclass(kind):
        yield from _typed(node, path, resolve)
    for key, value in node.items():
        yield from _problems(value, f'{path}.{key}', resolve)


def _bare(
    node: dict[str, Any], path: str, reader: Any, more: set[str]
) -> Iterator[str]:
    """Whether the reader of a dict without type takes its keys."""
    names = more
    if reader is not None:
        names = (_arguments(reader) or _named(reader)[0]) | more
    name = path if reader is None else reader.__name__
    yield from _unknown(node, path, names, name, reader)


def _nested(node: dict[str, Any], path: str, kind: Any) -> Iterator[str]:
    """Whether dicts for an argument's class have what that takes."""
    for name, part in argument_classes(kind):
        value = node.get(name)
        if not isinstance(value, dict):
            continue
        here = f'{path}.{name}'
        found = list(_bare(value, here, part, set()))
        yield from found
        if not found:
            try:
                build_plain(part, value)
            except (TypeError, ValueError) as error:
                yield f'{here}: {error}'


def _typed(node: dict[str, Any], path: str, resolve: Resolve) -> Iterator[str]:
    """Whether the type exists and takes the arguments."""
    kind = node['type']
    for key in ('type', 'ema_type'):  # EMAHook builds a second type
        name = node.get(key)
        if isinstance(name, str) and not resolve(name):
            yield (
                f"{path}.{key}: '{name}' is not registered"
                f'{_hint(name, _registered_names())}. A type of your own has '
                'to be imported through custom_imports'
            )
            return
    candidates = resolve(kind) if isinstance(kind, str) else [kind]
    last = path.rpartition('.')[2].partition('[')[0]
    if last in _LAYER_KEYS:
        return
    more = _LAYER_BUILDER_KEYS.get(last, set())
    # a name can be in several registries: one that fits is enough
    for candidate in candidates:
        yield from _nested(node, path, candidate)
    allowed = [_arguments(candidate) for candidate in candidates]
    if any(names is None for names in allowed):
        return
    name = kind if isinstance(kind, str) else kind.__name__
    findings = [
        list(_unknown(node, path, ok | more, name, candidate))
        for ok, candidate in zip(allowed, candidates)
    ]
    yield from min(findings, key=len)


def _unknown(
    node: dict[str, Any], path: str, allowed: set[str], name: str, owner: Any
) -> Iterator[str]:
    for key in node:
        if key not in allowed | _BUILDER_KEYS:
            hint = _moved(owner, key) or _hint(key, allowed)
            yield f"{path}.{key}: {name} has no argument '{key}'{hint}"


def _moved(owner: Any, key: str) -> str:
    """What to write in place of an argument that a class once had."""
    place = getattr(owner, 'moved_arguments', {}).get(key, '')
    return place and f'; write {place.format(key)}'


def _arguments(kind: Any) -> set[str] | None:
    """Names that a constructor takes, None if it can't be told."""
    if not inspect.isclass(kind):
        return _named(kind)[0] if not _named(kind)[1] else None
    names: set[str] = set()
    for base in kind.__mro__:
        if base is object:
            return None  # the rest of **kwargs is used in some other way
        if '__init__' not in vars(base):
            continue
        own, open_ended = _named(base.__init__)
        names |= own - {'self'}
        if not open_ended:
            return names
    return names


def _named(function: Any) -> tuple[set[str], bool]:
    """Parameter names, and whether there is a ``**kwargs``."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, tells nothing
        return set(), True
    fixed = {
        p.name
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    return fixed, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _registries() -> list[Registry]:
    return [
        value
        for value in vars(mmdet3d.registry).values()
        if isinstance(value, Registry)
    ]


def _resolve(name: str) -> list[Any]:
    """What a type name means, in every registry that knows it."""
    found = []
    for registry in _registries():
        try:
            candidate = _find(registry, name)
        except (ImportError, KeyError):  # 'scope.name' of an absent scope
            continue
        if candidate is not None:
            found.append(candidate)
    return found


def _find(registry: Registry, name: str) -> Any:
    """``registry.get``, but a name without a dot is never imported.

    mmengine looks on the path for a module of each name that a registry
    does not know: with all registries, half of the time that a config takes.
    """
    if '.' in name:
        return registry.get(name)
    registry.import_from_location()
    while registry is not None:
        if name in registry.module_dict:
            return registry.module_dict[name]
        registry = registry.parent
    return None


def _registered_names() -> set[str]:
    """All type names, those of other libraries as scope.name."""
    names: set[str] = set()
    for registry in _registries():
        names |= registry.module_dict.keys()
        if registry.parent is not None:
            names |= registry.parent.module_dict.keys()
            for scope, other in registry.parent.children.items():
                names |= {f'{scope}.{name}' for name in other.module_dict}
    return names


def _hint(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{near[0]}'?"
    if len(known) <= 20:
        return f'; it takes {", ".join(sorted(known))}'
    return ''

"""Read a config: its variables, the command line's options, its mistakes.

A config file has two kinds of top-level names. Keys are what a run reads:
``model``, ``train_dataloader``. Variables are what config files read
themselves: ``data_root``, ``label_grid``. An option sets a key in the
finished config, and a variable where the files assign it, so that all that
is made of it follows. Once read, a config has keys alone.
"""

from __future__ import annotations

import ast
import copy
import inspect
import re
import traceback
from argparse import ArgumentParser, Namespace
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, Iterator, Mapping, Sequence

from mmengine.config import Config, DictAction
from mmengine.config import config as mmengine_config
from mmengine.runner import Runner

from .errors import ConfigError

#: top-level keys that a run reads
RUN_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {
    'self',
    'cfg',
} | {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'labels',
    'model_wrapper_cfg',
    'sync_bn',
}
_BASE = '_base_'
# variables of our files that older configs read, and what is read instead
_MOVED = dict(label_spec='labels.label_spec', label_grid='labels.grid')


class OptionAction(DictAction):
    """mmengine's ``--cfg-options`` that names what it can't read."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Collect KEY=VALUE; end in the parser's error if it is none."""
        for pair in values:
            key, sign, text = pair.partition('=')
            if not sign or not all(part.strip() for part in key.split('.')):
                parser.error(
                    f'{option_string}: expected KEY=VALUE, such as '
                    f'train_cfg.max_epochs=8, got {pair!r}'
                )
            if any(text.count(a) != text.count(b) for a, b in ('()', '[]')):
                parser.error(
                    f'{option_string}: brackets do not match in {pair!r}'
                )
            try:
                self._parse_iterable(text)
            except RecursionError:  # on dict(a=1, b=2)
                parser.error(
                    f'{option_string}: expected numbers, words, and lists '
                    f'of these, got {pair!r}: set the keys of a dict one by '
                    'one, such as test_evaluator.0.label_spec=occ3d, or '
                    'write a config file'
                )
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """As mmengine's, but a single value keeps the spaces in it."""
        bare = val.strip('\'"')
        if ' ' in bare and not any(mark in bare for mark in '()[],'):
            return bare
        return DictAction._parse_iterable(val)


def add_cfg_options(parser: ArgumentParser) -> None:
    """``--cfg-options``, for every tool that takes a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='set keys or variables of the config, e.g. '
        'train_dataloader.batch_size=2 data_root=data/other a.list="[1,2]"',
    )


def read_config(
    path: str | Path, options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config file, with options, and leave nothing but its keys.

    Args:
        path: the config file.
        options: values by key path, as ``--cfg-options`` gives them.

    Raises:
        ConfigError: when a file can't be run, names its line; when there
            is no model; for a name
            that nothing reads, with the nearest that something does; for
            an option that can't have an effect.
    """
    options = dict(options or {})
    names = _Names(options)
    try:
        with _watched(names):
            # custom_imports wait until the options are in
            cfg = Config.fromfile(path, import_custom_modules=False)
        names.read |= _quoted_names(cfg.text)
    except Exception as error:
        raise ConfigError(_located(error, Path(path), names)) from error
    if 'model' not in cfg:
        raise ConfigError(
            f'config {path} has no model: is it a file of _base_?'
        )
    if not isinstance(cfg.model, dict):
        raise ConfigError(
            f"config {path}: model: expected a dict with a 'type', got "
            f'{cfg.model!r:.80}'
        )
    imported = getattr(cfg, '_imported_names', ())
    variables = [k for k in cfg if k not in RUN_KEYS and k not in imported]
    for key in options:
        _check_option(key, cfg, names)
    for name in variables:
        if name not in names.read:
            raise ConfigError(
                f'config {path}: nothing reads {name!r}'
                f'{_nearest(name, RUN_KEYS)}'
            )
        cfg.pop(name)
    try:
        cfg.merge_from_dict(
            copy.deepcopy({k: v for k, v in options.items() if _is_key(k)})
        )
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ConfigError(
            f'--cfg-options do not fit config {path}: {_text(error)}'
        ) from error
    return cfg


@dataclass
class _Names:
    """What is known of a config's names, and what is wanted of them.

    Attributes:
        options: values by key path.
        read: names that config files read.
        assigned: names that options were given to where files assign them.
    """

    options: Mapping[str, Any]
    read: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)

    def settings(self, name: str) -> Iterator[ast.stmt]:
        """Statements that give a variable what options say of it."""
        for key, value in self.options.items():
            first, *rest = key.split('.')
            if first != name or _is_key(key):
                continue
            self.assigned.add(name)
            target: ast.expr = ast.Name(
                name, ast.Load() if rest else ast.Store()
            )
            for i, part in enumerate(rest, 1):
                target = ast.Subscript(
                    target,
                    ast.Constant(int(part) if part.isdigit() else part),
                    ast.Store() if i == len(rest) else ast.Load(),
                )
            yield ast.Assign([target], _literal(value))


class _Syntax(ast.NodeTransformer):
    """Our part in what mmengine does to a file's syntax tree."""

    names: _Names

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Note what is read, before anything is added."""
        self.names.read |= _names_read(node)
        return ast.fix_missing_locations(self.generic_visit(node))

    def visit_Assign(self, node: ast.Assign) -> Any:
        """Set variables that options name once more, behind the file."""
        removes = getattr(super(), 'visit_Assign', None)
        if removes and removes(node) is None:
            return None
        return self._with_settings(node)

    def visit_AnnAssign(self, node: ast.stmt) -> list[ast.stmt]:
        """Likewise."""
        return self._with_settings(node)

    visit_AugAssign = visit_AnnAssign

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Leave the names of functions to themselves."""
        return node

    def _with_settings(self, node: ast.stmt) -> list[ast.stmt]:
        bound = {
            part.id: None
            for part in ast.walk(node)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        }
        added = [s for name in bound for s in self.names.settings(name)]
        return [node, *(ast.copy_location(part, node) for part in added)]


@contextmanager
def _watched(names: _Names) -> Iterator[None]:
    """Let mmengine show us the syntax tree of every file that it reads.

    It has a transformer for each of its two kinds of config: with
    ``_base_``, and with ``read_base()``.
    """
    kinds = ('RemoveAssignFromAST', 'ImportTransformer')
    before = {kind: getattr(mmengine_config, kind) for kind in kinds}
    for kind, base in before.items():
        watching = type(kind, (_Syntax, base), dict(names=names))
        setattr(mmengine_config, kind, watching)
    try:
        yield
    finally:
        for kind, base in before.items():
            setattr(mmengine_config, kind, base)


def _names_read(tree: ast.AST) -> set[str]:
    """Names, and attributes and items of ``_base_``, that a file reads."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        value = getattr(node, 'value', None)
        if isinstance(value, ast.Name) and value.id == _BASE:
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Subscript):
                found.add(getattr(node.slice, 'value', None))
    return found


def _quoted_names(text: str) -> set[str]:
    """Names that files read as ``{{_base_.name}}``, which is no Python."""
    return set(re.findall(r'\{\{\s*_base_\.(\w+)', text))


def _check_option(key: str, cfg: Config, names: _Names) -> None:
    """Raise a ConfigError for an option that would have no effect."""
    name = key.split('.')[0]
    if name in RUN_KEYS or (name in names.assigned and name in names.read):
        return
    content = {k: v for k, v in cfg.items() if k in RUN_KEYS}
    instead = list(_paths(content, key.split('.')[-1]))
    if name in _MOVED and 'labels' in cfg:
        instead = [key.replace(name, _MOVED[name], 1)]
    known = RUN_KEYS | (names.read & set(cfg))
    hint = _nearest(name, known - {name})
    if instead and (key == name or not hint):
        more = ', ...' if len(instead) > 6 else ''
        hint = f'; set {", ".join(instead[:6])}{more} instead'
    raise ConfigError(
        f'--cfg-options {key}: nothing reads {name!r} in config '
        f'{cfg.filename}{hint}'
    )


def _is_key(path: str) -> bool:
    return path.split('.')[0] in RUN_KEYS


def _paths(node: Any, name: str, path: str = '') -> Iterator[str]:
    """Key paths in a config that end in a name."""
    items: Any = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        here = f'{path}.{key}' if path else str(key)
        if key == name:
            yield here
        yield from _paths(value, name, here)


def _literal(value: Any) -> ast.expr:
    """A value as the expression that makes it."""
    if isinstance(value, list):
        return ast.List([_literal(v) for v in value], ast.Load())
    if isinstance(value, tuple):
        return ast.Tuple([_literal(v) for v in value], ast.Load())
    if isinstance(value, dict):
        keys = [_literal(key) for key in value]
        return ast.Dict(keys, [_literal(v) for v in value.values()])
    return ast.Constant(value)


def _nearest(name: str, known: frozenset[str] | set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f'; did you mean {near[0]!r}?' if near else ''


def _located(error: Exception, path: Path, names: _Names) -> str:
    """Which config file an error comes from, at which line, and what."""
    frames: dict[FrameType, Path] = {}
    line = getattr(error, 'lineno', None)
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code is Config._file2dict.__code__:
            frames[frame] = Path(frame.f_locals['filename'])
        elif frame.f_code.co_filename in map(str, frames.values()):
            line = number
    files = list(frames.values()) or [path]
    if len(set(files)) < len(files):
        return f'config {path}: its _base_ leads back to {files[-1]}'
    if not files[-1].is_file():
        named_by = files[-2] if len(files) > 1 else path
        return f'config {named_by}: its _base_ {files[-1]} does not exist'
    place = str(path if len(files) == 1 else files[-1])
    if line is not None:
        place += f', line {line}'
    if names.assigned:
        place += f' (with --cfg-options {" ".join(sorted(names.assigned))})'
    text = _text(error)
    for old, new in _MOVED.items():
        if f"'{old}'" in text:
            text += f'; what was {old} is {new}'
    return f'config {place}: {text}'


def _text(error: Exception) -> str:
    """An error in one line; those of Python with their kind."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = ' '.join(text.split())
    return f'{type(error).__name__}: {text}'

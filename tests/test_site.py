"""What turns the repository's documents into a site, without building it."""

import importlib.util
import logging
from pathlib import Path
from types import SimpleNamespace

import griffe
import pytest

ROOT = Path(__file__).parents[1]
SOURCE = '''
class Camera:
    """See :func:`look`."""

def look(near, far, *, width, **rest):
    """Look from a :class:`Camera`, as :func:`~far.away.seen` does::

        o-->

    Args:
        near, far (float): metres, both
            included.
        width, **rest: see ``Camera``.

    Raises:
        KeyError, ValueError: never.
    """
'''


@pytest.fixture(scope='module')
def pages():
    """The hook of mkdocs."""
    path = ROOT / 'docs/site/pages.py'
    spec = importlib.util.spec_from_file_location('site_pages', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def docstring_of(source, name=None):
    """A docstring as the site reads it, of a module if it has no name."""
    extensions = griffe.load_extensions(ROOT / 'docs/site/docstrings.py')
    with griffe.temporary_visited_module(
        source, module_name='town', extensions=extensions
    ) as module:
        return (module[name] if name else module).docstring


def page_at(path):
    return SimpleNamespace(file=SimpleNamespace(src_uri=path))


@pytest.mark.parametrize(
    'page, link, expected',
    [
        ('index.md', 'docs/bench.md#what', 'bench.md#what'),
        ('index.md', 'docs/images/a.png', 'images/a.png'),
        ('index.md', 'occupancy_configs/fbocc/README.md', 'configs/fbocc.md'),
        ('bench.md', 'methods/voxdet.md', 'methods/voxdet.md'),
        ('index.md', 'docs/minitown.ipynb', 'minitown.md'),
        ('minitown.md', 'methods/voxdet.md', 'methods/voxdet.md'),
        (
            'methods/voxdet.md',
            '../../occupancy_configs/fbocc/README.md#x',
            '../configs/fbocc.md#x',
        ),
        ('configs/fbocc.md', '../voxdet/README.md', 'voxdet.md'),
        ('configs/fbocc.md', '../../docs/hosts.md', '../hosts.md'),
        ('configs/fbocc.md', '../../README.md', '../index.md'),
        ('index.md', 'https://a.b/c.md#d', 'https://a.b/c.md#d'),
        ('bench.md', '#heading', '#heading'),
    ],
)
def test_links_lead_to_the_same_document(pages, page, link, expected):
    text = pages.on_page_markdown(f'![a]({link}) ({link})', page_at(page))
    assert text == f'![a]({expected}) ({link})'


def test_a_notebook_is_a_page_with_its_pictures(pages):
    (path,) = pages.notebooks()
    made = pages.notebook_page(ROOT / path, 'minitown.md')
    text = made.pop('minitown.md')
    assert text.startswith('# MiniTown')
    assert made
    for name, data in made.items():
        assert f'![png]({name})' in text
        assert data.startswith(b'\x89PNG')


def test_every_module_is_on_the_page_of_its_room(pages):
    package = griffe.load('occsplat', search_paths=[ROOT / 'projects'])
    named = set()
    for room in pages.rooms():
        text = pages.room_page(package[room])
        lines = [x for x in text.splitlines() if x.startswith('::: ')]
        names = [line.removeprefix('::: ') for line in lines]
        assert names == sorted(names)
        named.update(names)
    files = (ROOT / 'projects/occsplat').glob('*/**/*.py')
    modules = {
        '.'.join(path.relative_to(ROOT / 'projects').with_suffix('').parts)
        for path in files
    }
    assert named == {name.removesuffix('.__init__') for name in modules}


def test_what_a_room_exports_is_linked(pages):
    package = griffe.load('occsplat', search_paths=[ROOT / 'projects'])
    text = pages.room_page(package['ops'])
    assert '`from occsplat.ops import`' in text
    assert '[`cast_rays`][occsplat.ops.ray_casting.cast_rays]' in text


@pytest.mark.parametrize(
    'tag, address',
    [
        ('<script src="{}"></script>', 'https://a.example/shim'),
        ('<link rel="stylesheet" href="{}">', '//fonts.example/css'),
        ('<img alt="a" src="{}">', 'http://a.b/c.png'),
    ],
)
def test_what_comes_from_the_network_is_warned_of(pages, tag, address, caplog):
    page = page_at('bench.md')
    with caplog.at_level(logging.WARNING):
        pages.on_post_page('<a href="https://a.b">a</a>', page)
        pages.on_post_page(tag.format('../images/a.png'), page)
        assert not caplog.records
        pages.on_post_page(tag.format(address), page)
    assert address in caplog.text


def test_arguments_that_share_a_line_are_read_apart():
    sections = docstring_of(SOURCE, 'look').parse('google')
    (arguments,) = (x for x in sections if x.kind.value == 'parameters')
    near, far, width, rest = arguments.value
    assert [x.name for x in (near, far)] == ['near', 'far']
    assert [x.name for x in (width, rest)] == ['width', '**rest']
    assert str(near.annotation) == str(far.annotation) == 'float'
    assert near.description == far.description == 'metres, both\nincluded.'
    assert width.description == rest.description == 'see ``Camera``.'
    (errors,) = (x for x in sections if x.kind.value == 'raises')
    names = [str(x.annotation) for x in errors.value]
    assert names == ['KeyError', 'ValueError']


def test_roles_and_colons_of_sphinx_are_translated():
    text = docstring_of(SOURCE, 'look').value
    assert 'identifier="town.Camera">`Camera`<' in text
    assert 'identifier="far.away.seen">`seen`<' in text
    assert 'does:\n\n    o-->' in text
    drawn = docstring_of('"""A.\n\n::\n\n    o-->\n"""')
    assert drawn.value == 'A.\n\n\n\n    o-->'


def test_what_a_browser_takes_for_html_is_warned_of(caplog):
    docstring_of('"""Made as ``<scene>.png``, 1 < 2."""')
    assert not caplog.records
    docstring_of('"""Made as <scene>.png."""')
    assert '<scene>' in caplog.text

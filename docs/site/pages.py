"""Pages of the site that are no files of docs/, and links between all.

A hook of mkdocs. Documents keep the links that work in the repository: they
are translated to where the documents are in the site.
"""

import json
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
#: '](', the path of a file, '#...)' or ')'
LINK = re.compile(r'(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))')
#: what a browser fetches from elsewhere as it opens a page
FETCHED = re.compile(
    r'<(?:script|link|img|iframe|source)\b[^>]*\s(?:src|href)='
    r'["\']?((?:https?:)?//[^"\'\s>]+)'
)
LOG = get_plugin_logger(__name__)


def outside() -> dict[str, str]:
    """Documents beside docs/: path in the repository -> path in the site."""
    pages = {'README.md': 'index.md'}
    for name in ('CHANGELOG.md', 'CONTRIBUTING.md', 'CITATION.cff'):
        pages[name] = name
    for path in sorted(ROOT.glob('occupancy_configs/*/README.md')):
        name = path.relative_to(ROOT).as_posix()
        pages[name] = f'configs/{path.parent.name}.md'
    return pages


def notebooks() -> dict[str, str]:
    """Notebooks: path in the repository -> path of their page."""
    paths = sorted(ROOT.glob('docs/*.ipynb'))
    return {f'docs/{path.name}': f'{path.stem}.md' for path in paths}


def rooms() -> list[str]:
    """Names of the packages in occsplat."""
    inits = ROOT.glob('projects/occsplat/*/__init__.py')
    return sorted(path.parent.name for path in inits)


def on_config(config: MkDocsConfig) -> None:
    """Let the navigation end with the configs and the rooms."""
    configs = [page for page in outside().values() if 'configs/' in page]
    api = [{room: f'api/{room}.md'} for room in rooms()]
    config.nav += [{'Configs': configs}, {'API': api}]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the documents from outside, notebooks, and pages of the rooms."""
    pages: dict[str, str | bytes] = {}
    for path, page in outside().items():
        pages[page] = (ROOT / path).read_text(encoding='utf-8')
    for path, page in notebooks().items():
        pages |= notebook_page(ROOT / path, page)
    package = griffe.load('occsplat', search_paths=[ROOT / 'projects'])
    for room in rooms():
        pages[f'api/{room}.md'] = room_page(package[room])
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))


def on_page_markdown(markdown: str, page: Page, **kwargs) -> str:
    """Translate links from the repository's paths to the site's."""
    places = outside() | notebooks()
    site = page.file.src_uri
    origins = {place: path for path, place in places.items()}
    folder = PurePosixPath(origins.get(site, f'docs/{site}')).parent

    def translated(match: re.Match) -> str:
        target = normpath(folder / match[2])
        place = places.get(target, target.removeprefix('docs/'))
        return match[1] + relpath(place, PurePosixPath(site).parent) + match[3]

    return LINK.sub(translated, markdown)


def on_post_page(output: str, page: Page, **kwargs) -> None:
    """Warn of what would come from the network."""
    for address in FETCHED.findall(output):
        LOG.warning('%s fetches %s', page.file.src_uri, address)


def notebook_page(path: Path, page: str) -> dict[str, str | bytes]:
    """A notebook with the outputs that it holds; nothing is run.

    Args:
        path: of the notebook.
        page: of the site.

    Returns:
        dict: the page's Markdown, and its pictures, by path in the site.
    """
    stem = page.removesuffix('.md')
    resources = {'unique_key': stem, 'output_files_dir': f'{stem}_files'}
    text, made = MarkdownExporter().from_filename(str(path), resources)
    return {page: text, **made['outputs']}


def room_page(room: griffe.Module) -> str:
    """A page of a room: its modules, and what its packages export.

    Args:
        room: a package of occsplat.

    Returns:
        Markdown, with a directive of mkdocstrings for each module.
    """
    parts = []
    pending = [room]
    while pending:
        module = pending.pop()
        inside = (x for x in module.modules.values() if not x.is_alias)
        pending += sorted(inside, key=lambda x: x.name, reverse=True)
        options: dict = {'heading_level': 1 if module is room else 2}
        if module.is_init_module:
            options['members'] = _own(module)
        # JSON is YAML, too
        text = f'::: {module.path}\n    options: {json.dumps(options)}\n'
        parts.append(text)
        if module.is_init_module:
            parts.append(_exports(module) + '\n')
    return '\n'.join(parts)


def _own(package: griffe.Module) -> list[str]:
    """What a package defines itself, beside what its modules do."""
    members = package.members.values()
    own = (x for x in members if not x.is_alias and not x.is_module)
    return [member.name for member in own if member.is_public]


def _exports(package: griffe.Module) -> str:
    """What can be imported from a package, each with a link."""
    names = package.exports or ()
    links = (f'[`{name}`][{package[name].canonical_path}]' for name in names)
    return f'`from {package.path} import` {", ".join(links)}'

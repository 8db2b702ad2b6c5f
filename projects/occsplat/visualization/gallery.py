"""A page that shows pictures side by side."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Sequence

from occsplat.structures import whole_file

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 1.5em; background: #1c1f26; color: #ddd;
        font: 15px/1.5 sans-serif; }}
main {{ display: grid; gap: 1em;
        grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); }}
figure {{ margin: 0; }}
img {{ width: 100%; }}
</style>
<h1>{title}</h1>
<p>{text}</p>
<main>
{figures}
</main>
</html>
"""
_FIGURE = (
    '<figure><a href="{name}"><img src="{name}" alt="{name}" '
    'loading="lazy"></a><figcaption>{name}</figcaption></figure>'
)


def write_gallery(
    folder: str | Path, names: Sequence[str], title: str, text: str = ''
) -> Path:
    """Write ``index.html`` beside pictures.

    Args:
        folder: where they are.
        names: their file names, in the order of the page.
        title: of the page.
        text: a sentence below it.

    Returns:
        Path: the page.
    """
    path = Path(folder) / 'index.html'
    page = _PAGE.format(
        title=html.escape(title),
        text=html.escape(text),
        figures='\n'.join(
            _FIGURE.format(name=html.escape(name, quote=True))
            for name in names
        ),
    )
    with whole_file(path) as part:
        part.write_text(page, encoding='utf-8')
    return path

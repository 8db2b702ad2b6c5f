"""A page of pictures names each of them, and nothing else."""

import re

from occsplat.visualization import write_gallery


def test_a_page_shows_pictures_in_order(tmp_path):
    names = ['b.png', 'a & "c".png']
    page = write_gallery(tmp_path, names, 'A <title>', 'x & y')
    assert page == tmp_path / 'index.html'
    text = page.read_text()
    assert '<h1>A &lt;title&gt;</h1>' in text and '<p>x &amp; y</p>' in text
    shown = re.findall(r'<img src="([^"]*)"', text)
    assert shown == ['b.png', 'a &amp; &quot;c&quot;.png']
    # it needs no other file, and no network
    assert 'http' not in text and '<script' not in text

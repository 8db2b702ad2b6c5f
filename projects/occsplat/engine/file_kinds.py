"""What a file is that was taken for a checkpoint."""

from __future__ import annotations

_AGAIN = 'fetch the checkpoint again'
_UNPACK = 'unpack it'
_IMAGE = 'give the checkpoint, not a picture'
#: first bytes, what such a file is, and what to do about it
_OPENINGS: tuple[tuple[bytes, str, str], ...] = (
    (
        b'version https://git-lfs',
        'a git-lfs pointer',
        'fetch what it points to with `git lfs pull`',
    ),
    (b'<?xml', 'an XML page', _AGAIN),
    (b'\xff\xd8\xff', 'a JPEG image', _IMAGE),
    (b'\x89PNG', 'a PNG image', _IMAGE),
    (b'GIF8', 'a GIF image', _IMAGE),
    (b'RIFF', 'a WebP image or a recording', _IMAGE),
    (b'II*\0', 'a TIFF image', _IMAGE),
    (b'MM\0*', 'a TIFF image', _IMAGE),
    (b'BM', 'a BMP image', _IMAGE),
    (b'%!PS', 'a PostScript image', _IMAGE),
    (b'%PDF', 'a PDF document', _AGAIN),
    (b'\x1f\x8b', 'a gzip archive', _UNPACK),
    (b'BZh', 'a bzip2 archive', _UNPACK),
    (b'\xfd7zXZ\0', 'an xz archive', _UNPACK),
    (b'7z\xbc\xaf', 'a 7z archive', _UNPACK),
    (b'(\xb5/\xfd', 'a zstd archive', _UNPACK),
    (b'Rar!', 'a rar archive', _UNPACK),
    (b'\x93NUMPY', 'an array of numpy', 'give a file of torch.save'),
    (b'\x89HDF', 'an HDF5 file', 'give a file of torch.save'),
)


def file_kind(head: bytes) -> tuple[str, str]:
    """Name the kind of a file that is no checkpoint.

    Args:
        head: its first 512 bytes, or fewer.

    Returns:
        tuple: what it is, and what to do.
    """
    if not head:
        return 'an empty file', _AGAIN
    for opening, kind, advice in _OPENINGS:
        if head.startswith(opening):
            return kind, advice
    if head[257:262] == b'ustar':
        return 'a tar archive', (
            'unpack it; if PyTorch 0.1 saved it as a checkpoint, load it '
            'with that version and save its state_dict anew'
        )
    if not any(head):
        return 'a file of zeros', 'copy it again'
    try:
        # a character may be cut in two at the end
        text = head[:-3].decode('utf-8') if len(head) > 3 else head.decode()
    except UnicodeDecodeError:
        return f'a file of unknown kind (begins with {head[:8]!r})', _AGAIN
    if not text.isprintable() and not set('\n\r\t') & set(text):
        return f'a file of unknown kind (begins with {head[:8]!r})', _AGAIN
    opening = text.strip().lower()
    if opening.startswith(('<!doctype', '<html', '<head', '<!--')):
        return 'an HTML page', (
            'the address leads to a web page: find the one of the file '
            'itself, or download it with a browser'
        )
    return f'a text file (begins with {text[:20]!r})', _AGAIN

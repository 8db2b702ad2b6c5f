"""A MiniTown whose tables can be changed."""

import json
import shutil


def tables(source, target):
    """A MiniTown root whose tables can be changed."""
    for path in source.iterdir():
        if path.name == 'v1.0-mini':
            shutil.copytree(path, target / path.name)
        else:
            (target / path.name).symlink_to(path)
    return target


def change_rows(root, table, change, count=None):
    """Change the rows of a table for good."""
    path = root / 'v1.0-mini' / f'{table}.json'
    rows = json.loads(path.read_text())
    for row in rows[:count]:
        change(row)
    path.write_text(json.dumps(rows))


def drop(root, table, where):
    """Remove rows of a table."""
    path = root / 'v1.0-mini' / f'{table}.json'
    rows = json.loads(path.read_text())
    kept = [row for row in rows if not where(row)]
    assert len(kept) < len(rows)
    path.write_text(json.dumps(kept))

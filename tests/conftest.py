"""Fixtures that several test modules share."""

import gc
import signal
from functools import partial

import pytest
import torch

#: folders of tests of what needs no mm package
LIBRARY = ('test_structures', 'test_ops', 'test_rendering')
#: the small town of the tests
MINITOWN = dict(scenes=2, frames=4, image_size=(160, 90), seed=0)


# a shell makes its background jobs ignore Ctrl-C, and the processes that
# tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_pycollect_makemodule(module_path):
    """Tests find everything registered, but those of the library.

    Theirs take seconds: importing the mm packages takes longer than that.
    """
    if module_path.parent.name not in LIBRARY:
        import occsplat.plugin  # noqa: F401


def pytest_collection_finish():
    """What is imported is looked through for garbage no more.

    mmengine collects it for every data set that is built: a third of a
    second each time, with all that the mm packages have brought.
    """
    gc.freeze()


@pytest.fixture(scope='session')
def minitown_root(tmp_path_factory):
    """Root of a small MiniTown: 2 scenes x 4 key frames, 160 x 90 pixels.

    Shared by the whole session: read it, never write into it.
    """
    from occsplat.minitown import create_minitown

    root = tmp_path_factory.mktemp('minitown')
    return create_minitown(root, **MINITOWN, progress=False)


@pytest.fixture(scope='session')
def minitown_infos(minitown_root, tmp_path_factory):
    """A data root with info files: MiniTown's folders, linked."""
    from occsplat.data.infos import create_infos

    root = tmp_path_factory.mktemp('minitown_infos')
    for path in minitown_root.iterdir():
        (root / path.name).symlink_to(path)
    create_infos(root, 'v1.0-mini')
    return root


@pytest.fixture(scope='session')
def other_minitown(tmp_path_factory):
    """Another town with info files: 2 scenes x 2 key frames, same names."""
    from occsplat.data.infos import create_infos
    from occsplat.minitown import create_minitown

    root = tmp_path_factory.mktemp('other_minitown')
    create_minitown(
        root, **{**MINITOWN, 'frames': 2, 'seed': 1}, progress=False
    )
    create_infos(root, 'v1.0-mini')
    return root


@pytest.fixture(scope='session')
def minitown_lidar2d(minitown_infos, tmp_path_factory):
    """``minitown_infos``, linked, with 2D labels from LiDAR."""
    from occsplat.data.lidar2d import create_lidar2d

    root = tmp_path_factory.mktemp('minitown_lidar2d')
    for path in minitown_infos.iterdir():
        # a link to an info file is replaced by a file, the rest is read
        (root / path.name).symlink_to(path)
    for split in ('train', 'val'):
        create_lidar2d(root, 'v1.0-mini', split, progress=False)
    return root


@pytest.fixture
def without_memory(monkeypatch):
    """Models are built with shapes, but without numbers."""
    # mmdet's Swin reads numbers from this one as it is built
    linspace = partial(torch.linspace, device='cpu')
    monkeypatch.setattr(torch, 'linspace', linspace)
    with torch.device('meta'):
        yield

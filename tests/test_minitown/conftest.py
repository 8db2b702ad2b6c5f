"""A world and a table reader that the tests of this folder share."""

import pytest

from occsplat.minitown import build_world


@pytest.fixture(scope='session')
def world():
    """The first scene of the default town."""
    return build_world(0)


@pytest.fixture(scope='session')
def nusc(minitown_root):
    """The small town as nuscenes-devkit sees it."""
    from nuscenes import NuScenes

    return NuScenes('v1.0-mini', str(minitown_root), verbose=False)

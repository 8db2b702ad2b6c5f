"""Fixtures that tests of several tools share."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / 'tools/test.py'


@pytest.fixture(scope='session')
def tester():
    """The module tools/test.py; Python's library has another ``test``."""
    spec = importlib.util.spec_from_file_location('test_tool', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

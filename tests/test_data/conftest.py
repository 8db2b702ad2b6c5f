"""Fixtures of the data tests."""

import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tool(monkeypatch):
    """Runs tools/create_data.py; returns its exit message, if any."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / 'tools'))
    module = importlib.import_module('create_data')

    def run(*arguments):
        monkeypatch.setattr(
            sys, 'argv', ['create_data.py', *map(str, arguments)]
        )
        try:
            module.main()
        except SystemExit as stop:
            return stop.code
        return None

    return run

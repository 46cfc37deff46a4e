"""What pytest itself is told; the fixtures that tests share are in toy_fixtures.py."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports the hub's client

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write tests/objectives/golden.json anew")


def pytest_configure(config: pytest.Config) -> None:
    # Whoever only hands tests to others needs no fixtures, and they import torch, for seconds in which all wait.
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("toy_fixtures")

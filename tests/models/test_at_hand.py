from typing import Any

import pytest

from picturebook.models import at_hand
from picturebook.models.at_hand import pretrained_at_hand


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with the given packages and repositories in the hub's cache."""

    def with_(*, packages: bool, cached: tuple[str, ...]) -> None:
        monkeypatch.setattr(at_hand, "find_spec", lambda module: object() if packages else None)
        found = lambda repository, file: f"/cache/{file}" if repository in cached else None  # noqa: E731 - a stand-in
        monkeypatch.setattr(at_hand, "try_to_load_from_cache", found)

    return with_


def test_an_installed_package_comes_first(machine: Any) -> None:
    machine(packages=True, cached=("timm/resnet18.a1_in1k",))
    found = pretrained_at_hand()
    assert found is not None
    assert (found.model, found.init, found.encoder) == (
        "tf_efficientnet_lite0",
        "package:efficientnet-lite0",
        "package:efficientnet-lite0",
    )


def test_what_was_fetched_before_is_found_in_the_hubs_cache(machine: Any) -> None:
    machine(packages=False, cached=("timm/resnet50.a1_in1k",))
    found = pretrained_at_hand()
    assert found is not None
    assert (found.model, found.init, found.encoder) == ("resnet50", "pretrained", "resnet50")


def test_a_machine_without_weights_has_none(machine: Any) -> None:
    machine(packages=False, cached=())
    assert pretrained_at_hand() is None

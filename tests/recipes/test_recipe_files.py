"""What every recipe has: a short file of its own, a page that says how to use it, and an engine that does not know its name."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from picturebook.config import RECIPES
from picturebook.recipes.options import RecipeOptions

ROOT = Path(__file__).parents[2]
ENGINE = sorted((ROOT / "src" / "picturebook" / "engine").glob("*.py"))
MOST_LINES = 150
PAGES = ROOT / "docs" / "recipes"
SHARED = {"align": "contrastive", "clip": "contrastive", "siglip": "contrastive"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_one_short_file(name: str) -> None:
    file = Path(inspect.getfile(RECIPES[name].options))
    assert file.name == f"{name}.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_a_page_with_source_settings_command_and_what_to_expect(name: str) -> None:
    page = (PAGES / f"{SHARED.get(name, name)}.md").read_text(encoding="utf-8")
    assert re.search(r"^# .*\b" + name + r"\b", page)
    assert re.search(r"arXiv:\d{4}\.\d{5}", page), "its source"
    own = RECIPES[name].options.model_fields.keys() - RecipeOptions.model_fields.keys()
    read = page + "".join((PAGES / link).read_text(encoding="utf-8") for link in re.findall(r"\]\((\w+\.md)", page))
    assert {setting for setting in own if not re.search(rf"[`\[.]{setting}\b", read)} == set(), (
        "its settings, here or a link away"
    )
    assert re.search(r"^    picturebook train \w+\.toml$", page, re.MULTILINE), "its command"
    assert "on emoji64" in page.lower(), "what to expect"


@pytest.mark.parametrize("file", ENGINE, ids=lambda file: file.name)
def test_the_engine_asks_for_no_method_by_name(file: Path) -> None:
    words = {node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}
    assert not words & RECIPES.keys()

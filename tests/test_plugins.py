"""Modules of the user: found from the current folder, and refused in sentences that say the mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.plugins import classes_of, load_plugins, values_of
from bitspike.rules.bnn import BNN

MODULE = """
from dataclasses import dataclass
from bitspike.recipes.bnn import bnn_digits as _hidden
from bitspike.rules.bnn import BNN
from dataclasses import replace

@dataclass(frozen=True)
class OwnBNN(BNN):
    pass

mine = replace(_hidden, name="mine", rule=OwnBNN())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def test_a_module_in_the_current_folder_is_found(folder: Path) -> None:
    (folder / "own_module.py").write_text(MODULE)
    path = list(sys.path)
    (module,) = load_plugins(["own_module"])
    assert sys.path == path
    assert load_plugins([module, "own_module"]) == (module, module)
    assert list(classes_of([module], Rule)) == ["OwnBNN"]  # BNN is imported, not defined there
    assert classes_of([module], BNN)["OwnBNN"] is module.OwnBNN
    assert [recipe.name for recipe in values_of([module], Experiment)] == ["mine"]


def test_a_module_in_a_package_is_found(folder: Path) -> None:
    (folder / "own_package").mkdir()
    (folder / "own_package" / "__init__.py").write_text("")
    (folder / "own_package" / "rules.py").write_text(MODULE)
    (module,) = load_plugins(["own_package.rules"])
    assert module.__name__ == "own_package.rules"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("own_absent", None, "there is no module 'own_absent'.*run where own_absent.py lies"),
        ("own_needs", "import own_other", "needs own_other, which is not installed"),
        (
            "own_wrong",
            "from bitspike.errors import nothing_of_that_name",
            "cannot be imported: cannot import name",
        ),
        ("own_typo", "def (:", "cannot be imported"),
        ("own_file.py", None, "write my_rules for a file my_rules.py|there is no module"),
        ("./own_file", None, "not the name of a module"),
        ("", None, "not the name of a module"),
    ],
)
def test_what_cannot_be_imported_is_refused(
    name: str, text: str | None, complaint: str, folder: Path
) -> None:
    if text is not None:
        (folder / f"{name}.py").write_text(text)
    with pytest.raises(UsageError, match=complaint):
        load_plugins([name])

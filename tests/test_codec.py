"""An experiment survives JSON; what is damaged, foreign or cannot come back is refused with its place."""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from bitspike.codec import from_json, require_savable, to_json
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.kinds import AUGMENTATIONS, BASES, CODINGS, NETWORKS, RULES
from bitspike.plugins import load_plugins
from bitspike.recipes import RECIPES
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.bnn import BNN
from bitspike.settings import Optimizer
from drawn_experiments import experiments


@given(experiments)
@settings(max_examples=200)
def test_json_loses_nothing(experiment: Experiment) -> None:
    again = from_json(to_json(experiment))
    assert again == experiment
    assert to_json(again) == to_json(experiment)
    assert type(again.network.hidden) is tuple


def places(tree: Any, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field of the tree, as a path."""
    found = []
    for key, value in tree.items():
        found.append((*where, key))
        if isinstance(value, dict):
            found += places(value, (*where, key))
    return found


TREE = json.loads(to_json(bnn_digits))


def changed(path: tuple[str, ...], change: Any) -> str:
    tree = json.loads(json.dumps(TREE))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return json.dumps(tree)


@pytest.mark.parametrize("path", places(TREE), ids=".".join)
def test_a_missing_field_takes_its_default(path: tuple[str, ...]) -> None:
    text = changed(path, lambda inner, key: inner.pop(key))
    if path == ("name",) or (path[-1] == "kind" and path != ("weights", "kind")):
        with pytest.raises(UsageError):
            from_json(text)
        return
    try:
        experiment = from_json(text)
    except UsageError as error:
        if "missing" in str(error):
            raise
        return  # the default does not go with the rest
    value: Any = experiment
    for name in path[:-1]:
        value = getattr(value, name)
    field = next(f for f in fields(value) if f.name == path[-1])
    default = field.default if field.default_factory is MISSING else field.default_factory()
    assert getattr(value, path[-1]) == default


@pytest.mark.parametrize("path", places(TREE), ids=".".join)
def test_a_value_of_the_wrong_type_is_refused(path: tuple[str, ...]) -> None:
    for wrong in ({"surprise": 1}, [[]], 1j.__class__.__name__ if path[-1] not in ("name", "dir") else 5):
        with pytest.raises(UsageError):
            from_json(changed(path, lambda inner, key, wrong=wrong: inner.update({key: wrong})))


def test_the_error_names_the_field() -> None:
    with pytest.raises(UsageError, match=r"experiment\.training.*epoch"):
        from_json(changed(("training", "epochs"), lambda inner, key: inner.update(epoch=inner.pop(key))))
    with pytest.raises(UsageError, match=r"experiment\.training\.epochs"):
        from_json(changed(("training", "epochs"), lambda inner, key: inner.update(epochs="3")))


def test_true_is_not_one() -> None:
    for path, wrong in ((("network", "delay"), False), (("training", "epochs"), True), (("seed",), 1.0)):
        with pytest.raises(UsageError):
            from_json(changed(path, lambda inner, key, wrong=wrong: inner.update({key: wrong})))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", "3", '"x"', "[" * 100_000, "1" * 5000])
def test_what_is_not_an_experiment_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        from_json(text)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "9" * 400])
def test_step_sizes_that_are_not_numbers_are_refused(number: str) -> None:
    text = to_json(bnn_digits).replace(f'"lr": {bnn_digits.optimizer.lr}', f'"lr": {number}')
    assert text != to_json(bnn_digits)
    with pytest.raises(UsageError, match=r"is not a number|larger than any float|not of type float"):
        from_json(text)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_saved(name: str) -> None:
    recipe = RECIPES[name]
    require_savable(recipe)
    assert from_json(to_json(recipe)) == recipe


@pytest.mark.parametrize("table", [RULES, CODINGS, NETWORKS, BASES, AUGMENTATIONS])
def test_kinds_are_called_by_their_class(table: dict[str, type]) -> None:
    assert all(name == kind.__name__ for name, kind in table.items())


def test_older_names_are_read() -> None:
    text = to_json(bnn_digits).replace('"kind": "IF"', '"kind": "Network"')
    assert text != to_json(bnn_digits)
    assert from_json(text) == bnn_digits


def test_fields_that_older_files_lack_are_what_was_done_then() -> None:
    tree = json.loads(to_json(bnn_digits))
    del tree["device"], tree["weights"]["init"], tree["weights"]["gain"]
    assert from_json(json.dumps(tree)) == bnn_digits


# Classes of a user's own.

MODULE = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal
from bitspike.coding import Pixel
from bitspike.experiment import Experiment, Rule
from bitspike.settings import IF

if TYPE_CHECKING:
    from pathlib import Path

@dataclass(frozen=True)
class Part:
    rate: float = 0.1

@dataclass(frozen=True)
class Mine(Rule):
    """A rule."""
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)
    pair: tuple[int, float] = (1, 0.1)
    part: Part | None = None
    parts: tuple[Part, ...] = (Part(), Part(2.0))
    how: Literal["a", "b"] | None = None

@dataclass(frozen=True)
class Inside(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)

class Outer:
    Inside = Inside

Inside.__qualname__ = "Outer.Inside"

@dataclass
class Thawed(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)

class Plain(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)

@dataclass(frozen=True)
class Holds(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)
    what: dict[str, float] | None = None

@dataclass(frozen=True)
class Hidden(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)
    where: Path | None = None

@dataclass(frozen=True)
class Tagged(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)
    kind: str = "x"

@dataclass(frozen=True, eq=False)
class Unequal(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)

def local():
    @dataclass(frozen=True)
    class Local(Rule):
        networks: ClassVar = (IF,)
        codings: ClassVar = (Pixel,)
    return Local

mine = Experiment("mine", coding=Pixel(), network=IF((8,)), rule=Mine(part=Part(0.3)))
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The user's module `my_own_rules`, imported as a plug-in from the current folder."""
    (tmp_path / "my_own_rules.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    (module,) = load_plugins(["my_own_rules"])
    yield module
    sys.modules.pop("my_own_rules", None)


def test_a_class_of_the_users_own_is_saved_by_its_import_path(mine: Any) -> None:
    text = to_json(mine.mine)
    assert json.loads(text)["rule"]["kind"] == "my_own_rules:Mine"
    require_savable(mine.mine)
    again = from_json(text)
    assert again == mine.mine
    assert type(again.rule) is mine.Mine
    nested = replace(mine.mine, rule=mine.Inside())
    assert json.loads(to_json(nested))["rule"]["kind"] == "my_own_rules:Outer.Inside"
    require_savable(nested)


def test_a_file_imports_nothing_but_the_user_does(mine: Any) -> None:
    text, value = to_json(mine.mine), repr(mine.mine)
    del sys.modules["my_own_rules"]
    wanted = r"needs my_own_rules:Mine; import my_own_rules first, or add --plugin my_own_rules"
    with pytest.raises(UsageError, match=wanted):
        from_json(text)
    assert "my_own_rules" not in sys.modules
    assert repr(from_json(text, ["my_own_rules"])) == value  # the user names it
    assert from_json(text, [sys.modules["my_own_rules"]]) == from_json(
        text
    )  # or gives it, or has imported it


@pytest.mark.parametrize(
    "named",
    [
        "my_own_rules:Other",
        "my_own_rules:",
        ":Mine",
        "my_own_rules:mine",
        "my_own_rules:Part",
        "os:path",
        "bitspike:train",
        "my_own_rules:Mine.networks",
        "sys:modules.os",
    ],
)
def test_only_a_rule_is_a_rule(named: str, mine: Any) -> None:
    text = to_json(mine.mine).replace("my_own_rules:Mine", named)
    with pytest.raises(UsageError, match=r"experiment\.rule needs"):
        from_json(text)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Thawed", "frozen=True"),
        ("Plain", "frozen=True"),
        ("Hidden", r"Path.*import what it names at run time"),
        ("Tagged", "field name `kind`"),
        ("Unequal", "compare by value"),
        ("Local", "top level of its module"),
    ],
)
def test_what_cannot_come_back_is_refused(name: str, complaint: str, mine: Any) -> None:
    kind = mine.local() if name == "Local" else getattr(mine, name)
    with pytest.raises(UsageError, match=complaint):
        require_savable(replace(mine.mine, rule=kind()))


@pytest.mark.parametrize("value", [{"a": 1.0}, {1}, object()])
def test_fields_of_other_types_are_refused(value: Any, mine: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot be saved|is declared"):
        require_savable(replace(mine.mine, rule=mine.Holds(value)))


def test_values_of_another_type_are_refused(mine: Any) -> None:
    for wrong in (
        mine.Mine(part=Optimizer()),
        mine.Mine(pair=(1, 2, 3)),
        mine.Mine(how="c"),
        mine.Mine(pair=(0.5, 1.0)),
    ):
        with pytest.raises(UsageError, match=r"experiment\.rule"):
            require_savable(replace(mine.mine, rule=wrong))


def test_a_class_of_the_script_that_runs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Mine(BNN):
        pass

    Mine.__module__ = "__main__"
    with pytest.raises(UsageError, match=r"move it to a module, such as my_rules\.py"):
        require_savable(replace(bnn_digits, rule=Mine()))


def test_infinite_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be saved"):
        to_json(replace(bnn_digits, name=float("inf")))  # type: ignore[arg-type]


def test_deep_files_are_refused() -> None:
    tree = json.loads(to_json(bnn_digits))
    text = json.dumps(tree | {"name": "DEEP"}).replace('"DEEP"', '{"a":' * 50_000 + "1" + "}" * 50_000)
    with pytest.raises(UsageError):
        from_json(text)

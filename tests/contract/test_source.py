"""Rules for the source tree that the linters do not know."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PRODUCT = ROOT / "src/wisp"


def public_classes(folder: Path) -> dict[str, list[str]]:
    """Return the modules that define each public class of a package, by the name of the class."""
    modules = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(str(path.relative_to(folder)))
    return dict(modules)


def test_public_class_names_of_the_product_are_unique() -> None:
    """A class name that is found in a traceback or an import leads to one module."""
    repeated = {name: modules for name, modules in public_classes(PRODUCT).items() if len(modules) > 1}
    assert repeated == {}


@pytest.mark.parametrize("path", sorted(PRODUCT.rglob("*.py")), ids=lambda path: str(path.relative_to(PRODUCT)))
def test_the_product_does_not_import_the_local_azure(path: Path) -> None:
    """Its commands register through the entry-point group `wisp.commands`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [name for name in names if name.partition(".")[0] == "wisp_local"] == []


def test_a_repeated_class_name_is_found(tmp_path: Path) -> None:
    """Private classes and other packages do not count."""
    (tmp_path / "one.py").write_text("class Same: ...\nclass _Private: ...\n")
    (tmp_path / "two.py").write_text("class Same: ...\nclass _Private: ...\nclass Other: ...\n")
    assert public_classes(tmp_path) == {"Same": ["one.py", "two.py"], "Other": ["two.py"]}

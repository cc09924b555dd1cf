"""Write modules.txt: the modules of this distribution, from the imports of the verifier itself.

    python packaging/sumcheck-verifier/modules.py

A module is listed if importing the verifier runs it: imports at the top level of modules, and the
packages above them. What stands inside functions is not needed to verify against a pinned circuit;
a test verifies proofs with nothing but this list, and compares the list.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIST = HERE / "modules.txt"
ROOTS = ("proofml.zkml.sumcheck.standalone", "proofml.zkml.sumcheck.standalone_cli")


def folders() -> dict[str, Path]:
    """Import name -> folder, as the main pyproject.toml maps it; the longest names first."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    return {name: ROOT / table[name] for name in sorted(table, key=len, reverse=True)}


def file_of(module: str) -> Path | None:
    """The file of a module of this project; None where there is none."""
    for name, folder in folders().items():
        if module == name or module.startswith(f"{name}."):
            path = folder.joinpath(*module[len(name) + 1 :].split("."))
            found = (path.with_suffix(".py"), path / "__init__.py")
            return next((file for file in found if file.is_file()), None)
    return None


def stays(node: ast.AST) -> bool:
    """Whether what stands inside does not run when the module is imported."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def imports(tree: ast.AST) -> Iterator[str]:
    """Whatever may be a module, of the imports that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0  # relative imports are not used here
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not stays(node):
            yield from imports(node)


def modules() -> list[str]:
    """All modules of the verifier, sorted."""
    found: set[str] = set()
    waiting = list(ROOTS)
    while waiting:
        module = waiting.pop()
        path = file_of(module)
        if path is None or module in found:
            continue
        found.add(module)
        waiting += imports(ast.parse(path.read_text("utf-8")))
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return sorted(found)


def render() -> str:
    return "".join(f"{module}\n" for module in modules())


if __name__ == "__main__":
    LIST.write_text(render(), "utf-8")
    print(f"{LIST.name}: {len(modules())} modules")

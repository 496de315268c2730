"""The code that decides an experiment's figures: its own file, and what it imports that nobody installed."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_NOT_LOOKED_FOR = {"langmem_dspy", *sys.builtin_module_names}  # counted by their versions
_INSTALLED = {"site-packages", "dist-packages"}


def local_sources(file: Path) -> dict[str, Path]:
    """The Python files that `file` stands on, itself first, by the names they have in the folder of their import.

    Imports are read, not run, those inside functions too. A module is looked for beside the file, then where this
    Python imports from apart from its library and installed packages. A folder counts as a whole, since what is
    imported from it may run the others as scripts; so does the package of a file that imports from it relatively.
    What other code reads by path is not seen: name it in the config.
    {} where there is no such file, as for an experiment in a notebook.
    """
    file = file.absolute()
    if not file.is_file():
        return {}
    roots = [file.parent, *_folders_of_own_code()]
    found = {file.name: file}
    waiting, looked_up = [file], set[tuple[str, Path | None]]()
    while waiting:
        for name, root in _imported(waiting.pop()):
            if (name, root) in looked_up or name in _NOT_LOOKED_FOR:
                continue
            looked_up.add((name, root))
            files = _files_of(name, roots if root is None else [root])
            counted = set(found.values())
            fresh = {known: path for known, path in files.items() if path not in counted}
            found |= fresh
            waiting += fresh.values()
    return found


def code_digest(sources: Mapping[str, Path], function: Callable[..., object]) -> str:
    """A digest of the sources; of the text of the function alone where there are none."""
    return digest_of(sources) if sources else hashlib.sha256(_text_of(function)).hexdigest()


def _text_of(function: Callable[..., object]) -> bytes:
    try:
        return inspect.getsource(function).encode()
    except OSError:  # typed at a prompt
        code = inspect.unwrap(function).__code__
        return code.co_code + repr((code.co_consts, code.co_names)).encode()


def digest_of(sources: Mapping[str, Path]) -> str:
    """SHA-256 over names and contents."""
    digest = hashlib.sha256()
    for name in sorted(sources):
        content = sources[name].read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _imported(file: Path) -> Iterator[tuple[str, Path | None]]:
    """The first part of the name of every module that a file imports, and where it lies where that is known."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError:  # a file of a folder that nothing imports; its content counts all the same
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level < len(file.parents):
            names = [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]
            root = file.parents[node.level - 1] if node.level else None
            yield from [_whole_package(root)] if root and _is_package(root) else ((name, root) for name in names)


def _whole_package(folder: Path) -> tuple[str, Path]:
    """The outermost package that a folder is of, and where that lies."""
    while _is_package(folder.parent):
        folder = folder.parent
    return folder.name, folder.parent


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _files_of(name: str, roots: list[Path]) -> dict[str, Path]:
    for root in roots:
        if (folder := root / name).is_dir() and (files := _python_files(folder)):
            return {path.relative_to(root).as_posix(): path for path in files}
        if (file := root / f"{name}.py").is_file():
            return {file.name: file}
    return {}


def _python_files(folder: Path) -> list[Path]:
    """Those below a folder; environments and caches, whose names begin with a dot or two underscores, left out."""
    found: list[Path] = []
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        found += [Path(at, name) for name in files if name.endswith(".py")]
    return sorted(found)


def _folders_of_own_code() -> list[Path]:
    """Where this Python imports from, without its library and installed packages."""
    paths = sysconfig.get_paths()
    theirs = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [Path(entry).absolute() for entry in sys.path if Path(entry).is_dir()]
    # Those of the user and of the system, which a virtual environment may show too, are known by their names alone.
    own = [folder for folder in folders if _INSTALLED.isdisjoint(folder.parts)]
    return [folder for folder in own if not any(folder.is_relative_to(path) for path in theirs)]

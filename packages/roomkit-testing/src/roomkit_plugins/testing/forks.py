"""Processes of tests that are forked from one that has imported what they need.

`multiprocessing` has one server of forks for all tests of a process, and each list of modules to preload
replaces the one before: the lists are joined here.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

__all__ = ["forks_with"]

_preloaded = ["__main__"]  # bound: the modules that tests name


def forks_with(*modules: str) -> ForkServerContext:
    """Return a context whose processes find these modules imported already.

    Call it where the tests' module is imported: names that come after the first process was started are
    imported by each process itself.
    """
    _preloaded.extend(module for module in modules if module not in _preloaded)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_preloaded)
    return context

"""Import every module of a package: `python tests/tree/import_all.py roomkit_plugins.sms`.

Run with nothing installed but a distribution and what it declares, this finds what it forgot to declare.
"""

import sys
from importlib import import_module
from pkgutil import walk_packages


def main(name: str) -> None:
    """Import `name` and all below it."""
    package = import_module(name)
    for module in walk_packages(package.__path__, f"{name}."):
        import_module(module.name)


if __name__ == "__main__":
    main(sys.argv[1])

"""Makes `python -m roomkit_plugins.cli` the same as `roomkit`."""

import sys

from roomkit_plugins.cli.main import command

if __name__ == "__main__":
    sys.exit(command())

"""Makes `python -m roomkit_plugins.cli` the same as `roomkit`."""

import sys

from roomkit_plugins.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

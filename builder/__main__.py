"""`python -m builder` is `kbuild`."""

import sys

from builder.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

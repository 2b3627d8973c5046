"""The specification's name for `deertrack reid validate`: same flags, same output, same exit status."""

import sys

from deertrack.entry.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["reid", "validate"]
    main()

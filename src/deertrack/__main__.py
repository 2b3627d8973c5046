"""``python -m deertrack`` is the ``deertrack`` command."""

from deertrack.entry.cli.main import main

main()

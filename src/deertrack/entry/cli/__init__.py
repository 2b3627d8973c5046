"""The ``deertrack`` command."""

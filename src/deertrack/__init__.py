"""deertrack: which individual deer is this, and have we seen it before?"""

__version__ = "0.1.0"

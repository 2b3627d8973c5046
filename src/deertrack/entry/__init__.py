"""Where a person or a process meets deertrack: parse, call one service, render. No rule lives here."""

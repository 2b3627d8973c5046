"""Draws what a person reads: HTML reports and charts, from plain data handed in."""

"""Measuring matchers on animals whose identity is known."""

"""Doubles that we own. Each runs through the contract suite of the real thing (``tests/contract``)."""

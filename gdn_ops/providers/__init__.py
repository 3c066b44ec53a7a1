"""Calls of installed libraries: one module per provider, imported when one is timed or chosen.

A module has ``load``, which imports what it calls, and ``prepared``, which turns a call of ours
into the library's: see ``Adapter``.
"""

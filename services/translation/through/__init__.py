"""Pass-through: caller and upstream speak the same dialect, so nothing is rebuilt.

The request goes up with the few edits that the wire document requires, frames come down as bytes, and members
that nobody here knows survive both ways. One module a dialect.
"""

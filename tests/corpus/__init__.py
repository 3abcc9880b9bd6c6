"""The corpus of strange inputs: one module per kind with a table `ROWS`, one test that runs every row.

To add a report, add a row to the table of its kind (or a new module with a `ROWS` of its own: it is found by
itself). A row makes its input, calls the package as a user would, and names what must come out: a value, a
check of the value, or the `LabError` subclass and the number or name that its message must hold.
"""

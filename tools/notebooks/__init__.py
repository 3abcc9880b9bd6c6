"""How the notebooks of this repository are executed, kept in one form, linked and exported.

For people who work on the notebooks: the commands need a checkout and the ``dev`` extra.
``python -m tools.notebooks --help`` lists them.
"""

"""Execute, normalise, link and export the notebooks of this repository.

For people who work on the notebooks: the commands need a checkout and the ``dev`` extra.
``python -m tools.notebooks --help`` lists them.
"""

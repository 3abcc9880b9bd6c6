"""Sphinx settings of the site; ``make docs`` builds it from build/docs-source."""

from gemma_lab import __version__

project = "gemma_lab"
author = "the gemma_lab developers"
copyright = "the gemma_lab developers, Apache-2.0"
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb"]
exclude_patterns = ["_extra"]
html_extra_path = ["_extra"]
html_theme = "furo"
html_title = "gemma_lab"
html_static_path = []
html_show_sphinx = False
html_math_renderer = "text"  # formulas are set as code: no page loads a script for them

# Names in backticks are Python objects; what is not found is set as code.
default_role = "autolink"
extensions += ["sphinx.ext.autosummary"]
autosummary_generate = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# Committed outputs are shown as they are: nothing is executed, and no page loads a script from elsewhere.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "text/html", 10), ("html", "image/png", 5)]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = ["ref.python", "mystnb.unknown_mime_type", "misc.highlighting_failure"]


def _as_code(self, node):  # noqa: ANN001, ANN202
    from docutils.nodes import SkipNode

    self.body.append(f"<code>{self.encode(node.astext())}</code>")
    raise SkipNode


def setup(app):  # noqa: ANN001, ANN201
    """Register the renderer of formulas."""
    app.add_html_math_renderer("text", (_as_code, None), (_as_code, None))

"""How Sphinx builds these pages: Markdown by MyST, the reference from docstrings; no network needed."""

from importlib.metadata import version as installed_version

project = "mpitasks"
author = "the mpitasks authors"
project_copyright = f"2026, {author}"
version = release = installed_version("mpitasks")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"mpitasks {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# Docstrings hold no types, so napoleon must not look for any; the signature shows them.
napoleon_numpy_docstring = False
napoleon_attr_annotations = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
maximum_signature_line_length = 100

# A reference to a name of ours must lead somewhere. Python's and mpi4py's would need an inventory from the network, and
# type variables and private names have no entry.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!mpitasks\b).*"), (r"py:.*", r"mpitasks\.(.*\.)?([A-Z](_co|_contra)?|_\w+)")]

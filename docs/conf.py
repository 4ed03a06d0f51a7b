"""The site: ``make docs`` builds it strictly, ``make docs-serve`` shows it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "vitblocks"
copyright = "the authors of vitblocks"
html_title = "vitblocks"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "reference",
    "gallery",
    "accessible",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["extensions"]
myst_enable_extensions = ["colon_fence", "attrs_block", "dollarmath"]
myst_heading_anchors = 3
# "py" marks Python that shows a call and does not run by itself.
highlight_language = "python"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_type_aliases = {"Tensor": "torch.Tensor", "Size": "Size", "Grid": "Grid"}
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False  # arguments that are described together stay together
napoleon_use_ivar = True  # attributes of a NamedTuple are documented once
add_module_names = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

"""How to build our model of each case: one module an architecture, each with a table ``BUILDERS``.

A key is (architecture, layout) as the case file has them, or the name of one case. Modules are found by themselves.
"""

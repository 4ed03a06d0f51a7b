"""Every family that another library has, through all of the border: adopted, released, saved as that library saves, loaded elsewhere.

``python -m tests.border.matrix`` measures all rows and writes what it found.
"""

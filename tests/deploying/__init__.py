"""Models handed to runtimes."""

"""Golden cases: our models against recorded outputs of the published implementations. See README.md."""

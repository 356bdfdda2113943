"""The pages of docs/reference, made from the code that they are about: `python -m tools.reference`."""

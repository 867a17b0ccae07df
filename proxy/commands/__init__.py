"""The commands that run: the composition root, the one room that knows every other."""

"""The test tree as a package, so that test modules can import `tests.support`."""

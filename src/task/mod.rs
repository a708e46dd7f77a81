//! Tasks: readers, templates, metrics, splits and the built-in suite.

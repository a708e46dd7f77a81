//! The HTTP interface: router, extractors, errors, one file per noun.

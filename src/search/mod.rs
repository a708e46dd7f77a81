//! The bi-level search of sparse structures.

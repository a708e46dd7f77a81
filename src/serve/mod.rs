//! The engine that serves many adapters over one backbone.

//! T5: configuration, weights, layers, caches and decoding.

//! T5: configuration, weights, layers, caches and decoding.

pub mod device;

pub use device::{DeviceChoice, DeviceError};

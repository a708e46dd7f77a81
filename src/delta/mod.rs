//! Delta kinds over tensors, and the views of them that a forward pass takes.

//! Builds the web page; see web/.
fn main() {}

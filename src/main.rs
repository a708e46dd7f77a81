//! The s3delta command.

fn main() {}

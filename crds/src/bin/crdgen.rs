//! crdgen
fn main() {}

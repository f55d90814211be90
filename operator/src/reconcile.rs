//! One pool, step by step and pure: dereference (what its sources name) → hold (what is only missing for a moment) →
//! check (what the active checks say) → `pool` (what is to be published). No IO, no clock; the controller does the rest.

pub mod check;
pub mod dereference;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hold;
pub mod pool;
#[cfg(test)]
mod tests;

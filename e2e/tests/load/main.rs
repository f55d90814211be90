//! Claims about load, one at a time, with nothing else on the cluster: their figures are measurements.

mod deletions;
mod shares;

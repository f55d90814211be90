//! The table of `conformance/http1.txt` over sockets: through the sidecar, held to every word of it, and through its peers, to
//! compare. One lane is a proxy with a recording backend; what a lane observed is judged by pure code.

pub mod judge;
pub mod lane;
pub mod page;
pub mod verdict;

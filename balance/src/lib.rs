//! Choosing an endpoint, pure: live endpoint state by identity, the health floor and the passive breaker, and the algorithms.
//! No clock, no sockets, no threads: time and chance are arguments. A [`Pool`] is an immutable snapshot over live [`Endpoint`]s;
//! a pick takes no lock and no memory.
//!
//! # When to take which algorithm
//!
//! | algorithm | take it when | a pick costs, n members | source |
//! |---|---|---|---|
//! | [`LeastConnections`](Algorithm::LeastConnections), `choice_count` 2 | always, unless you know better: slow endpoints get less, no herd even with many sidecars | O(1) | Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 2001 |
//! | the same, `choice_count` d | few sidecars, more precision wanted; draws are distinct | O(d) | the same |
//! | the same, `choice_count` 0 | one or few clients, long requests: the exact minimum | O(n) | Weighted least connections, as in LVS |
//! | [`RoundRobin`](Algorithm::RoundRobin) | equal requests, evenness in numbers matters more than in time; by weight where weights differ | O(1), by weight O(largest ÷ mean weight) | static stride, as in gRPC's weighted round robin |
//! | [`Random`](Algorithm::Random) | as before, with very many balancers: it keeps no state | the same | – |
//! | [`LeastResponseTime`](Algorithm::LeastResponseTime), `choice_count` as above | endpoints differ in speed, or slow down at times: one slow answer counts at once | O(d) or O(n) | Peak-EWMA of Finagle and Linkerd |
//! | [`LeastCost`](Algorithm::LeastCost), `choice_count` as above | requests of very different and known kinds, endpoints that serve one at a time, one balancer: the small ones keep out of the large ones' way; with several slots an endpoint, or many balancers, counts do as well or better | O(d) or O(n) | – |
//! | [`ResponseTimeWeighted`](Algorithm::ResponseTimeWeighted) | endpoints differ in speed for long; smoother than choosing by each answer | as round robin, O(n) every 2 s | – |
//! | [`ReportedWeighted`](Algorithm::ReportedWeighted) | backends say how loaded they are, and have other clients | as round robin, O(n) every second | gRFC A58 |
//! | [`Prequal`](Algorithm::Prequal) | endpoints answer probes; many balancers, endpoints whose capacity changes under them | O(1), O(log n) with 16 replies | Wydrowski et al., "Load is not what you should balance", NSDI 2024 |
//! | [`LeastExpectedTime`](Algorithm::LeastExpectedTime) | the same, and few enough requests for each probe that a reply is old when it is used | the same | ADR 8 |
//! | [`Packing`](Algorithm::Packing) | as few busy endpoints as possible, the others idle to be taken away | O(full ones) | HAProxy's "first" |
//! | [`ConsistentHash`](Algorithm::ConsistentHash), [`Table::Ring`] | a key should meet the same endpoint again: caches, sessions; a new member takes 1/n of the keys and no other key moves; shares differ by some 8 % | O(1); 9 bytes a point | Karger et al., "Consistent hashing and random trees", STOC 1997 |
//! | the same, [`Table::Maglev`] | shares equal to within one slot, and the quickest; but with each change fewer than 1 % of the other keys move too | O(1); 64 or 128 KiB a pool | Eisenbud et al., "Maglev", NSDI 2016 |
//! | the same, [`Table::Rendezvous`] | few endpoints: exact shares in the long run, no other key moves, next to no memory | O(n) | Thaler, Ravishankar, IEEE/ACM ToN 1998; weights: Schindelhauer, Schomaker, SPAA 2005 |
//! | each with `hash_balance_factor` c | as before, but one hot key mustn't drown its owner: nobody gets over c times its share | O(1) mostly if the owner has room, else one sum over n | Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018; overflow by rehashing: Chen, Coleman, Shrivastava, "Revisiting consistent hashing with bounded loads", AAAI 2021 |
//!
//! The load of an endpoint is (in flight + 1) ÷ weight. With [`Config::passive`] the errors of late add to it, so that failing fast
//! never looks like being idle; round robin and packing don't compare loads and rely on ejection.
//!
//! # What goes with an algorithm
//!
//! | setting | take it when | it costs, n members | source |
//! |---|---|---|---|
//! | [`EndpointSpec::priority`] | some endpoints are backups, for when too few of the others are usable | nothing a pick | Envoy's priority levels, HAProxy's backup servers |
//! | [`Config::slow_start`] | new endpoints are cold: caches to fill, code to compile | a few operations a comparison while one is new | Envoy, HAProxy, NGINX; ADR 9 |
//! | [`Config::zone`] | traffic between zones is slow or billed | O(1) a pick | ADR 6 |
//! | [`Config::subset`] | many balancers and endpoints: each opens connections to k only; not with a table | O(n log n) a new list | Thaler, Ravishankar, 1998; gRFC A68 |
//! | [`assign::assign`] | pairs have to be made at least total cost, by one who sees all | O(n³) | Kuhn 1955; Jonker, Volgenant 1987 |
//!
//! # Who may be picked
//!
//! The operator's verdict ([`Health`]) is the floor, the passive breaker may only take out more, the panic threshold overrides both.
//! A pool keeps the outcome (a list and some sums) behind the [`Book`]'s epoch counter: a change of health, weight, priority or ejection
//! costs the next pick a few passes over the members, all other picks some atomic reads.
//!
//! | members | candidates | reason of the pick |
//! |---|---|---|
//! | enough usable with closed breakers | these; an open breaker whose time has come gets one probing request | the algorithm's, `Probe` |
//! | too few of the lowest priority number, for the panic threshold | these, and of the next numbers as many groups as make it enough; all usable ones, if one group at least has its own share usable | the algorithm's, `Probe` |
//! | too few in all groups, of usable and down | usable and down, ejected or not | `Panic` |
//! | usable ones, all ejected | usable ones: ejections alone never empty a pool | `Panic` |
//! | only draining ones (and not ready ones) | the draining | `LastResort` |
//! | only not ready ones; only down ones with threshold 0 | nobody | – |
//!
//! With a [`Subset`] the first k of these in the balancer's own order are the candidates.
//!
//! # New endpoints
//!
//! With [`Config::slow_start`] an endpoint has a growing part of its share from when it became usable, unless all are new. Turns, random
//! picks and the bound of tables go by the reduced weight; where endpoints are compared, a new one takes part by chance and then
//! counts in full: a small weight alone would make it the worst choice of every idle balancer until it had all of it (ADR 9).
//!
//! # Zones
//!
//! With [`Config::zone`] a pool keeps as many requests in its own zone as keep the answers there less than half as slow again as those
//! from elsewhere; failures count as slow. It goes by what each balancer sees itself, so that nobody has to know who else calls from
//! where: a small zone with many callers spills, whichever they are. The algorithm chooses inside the part that is decided for;
//! consistent tables and probing ignore zones. A pick for another zone says `Spill`. O(1) a pick.

pub mod assign;
mod book;
mod breaker;
mod by_id;
mod check;
mod clock;
mod config;
mod cost;
mod endpoint;
mod hash;
mod lease;
mod load;
#[cfg(all(test, shuttle))]
mod model;
mod pick;
mod picker;
mod pool;
mod prequal;
mod reported;
mod rng;
mod slow_start;
mod standing;
mod subset;
mod sync;
mod zone;

pub use book::Book;
pub use breaker::{EjectReason, Ejection, Outcome, Passive, Transition};
pub use check::Check;
pub use config::{BuildError, Config};
pub use endpoint::{Endpoint, EndpointSpec, Health};
pub use hash::key_hash;
pub use lease::InFlight;
pub use load::{Load, Loads};
pub use pick::{NoEndpoint, Pick, PickArgs, PickReason};
pub use picker::{Algorithm, Table};
pub use pool::{Pool, Stand};
pub use prequal::{ProbeAnswer, ProbeLoad};
pub use reported::ReportedLoad;
pub use rng::{Rng, SmallRng};
pub use slow_start::SlowStart;
pub use subset::Subset;

//! Every number's bounds, once: the schema shows them to the API server, `evenkeel-plan` holds specs to them where no API
//! server did. Counts and lengths are of items and characters, times are milliseconds.

/// From `min` to `max`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl Bounds {
    /// Both ends are allowed.
    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// Whether the value lies within.
    pub const fn hold(self, value: u64) -> bool {
        self.min <= value && value <= self.max
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Listeners of a pool.
pub const LISTENERS: Bounds = Bounds::new(0, 8);
/// A listener's port: sidecars have no right to lower ones.
pub const LISTENER_PORT: Bounds = Bounds::new(1024, 65_535);
/// Ports that a sidecar needs for itself: admin, metrics and probes.
pub const RESERVED_PORTS: [u16; 2] = [16_080, 16_081];
/// Server names of a listener.
pub const HOSTNAMES: Bounds = Bounds::new(1, 16);
/// Networks that are believed.
pub const TRUSTED: Bounds = Bounds::new(1, 16);
/// UDP sessions of one source address: it has no more ports.
pub const SESSIONS_PER_SOURCE: Bounds = Bounds::new(1, 65_535);
/// Any other port.
pub const PORT: Bounds = Bounds::new(1, 65_535);
/// Sources of a pool.
pub const SOURCES: Bounds = Bounds::new(1, 16);
/// Endpoints of a static source.
pub const STATIC_ENDPOINTS: Bounds = Bounds::new(1, 100);
/// Percent of a normal endpoint.
pub const WEIGHT: Bounds = Bounds::new(1, 1_000);
/// Labels of a namespace selector.
pub const MATCH_LABELS: Bounds = Bounds::new(1, 16);
/// Groups of endpoints; the least is used first.
pub const PRIORITY: Bounds = Bounds::new(0, 7);
/// Distinct draws of the algorithms that compare; 0 is all.
pub const CHOICE_COUNT: Bounds = Bounds::new(0, 32);
/// Sources of a key.
pub const HASH_KEYS: Bounds = Bounds::new(1, 4);
/// Percent of the mean load.
pub const HASH_BALANCE_FACTOR: Bounds = Bounds::new(100, 10_000);
/// Ring points of an endpoint of weight 100.
pub const VIRTUAL_NODES: Bounds = Bounds::new(1, 1_000);
/// The most points of all endpoints of a ring.
pub const RING_POINTS: u64 = 1 << 22;
/// Slots of a Maglev table; only primes are.
pub const TABLE_SIZE: Bounds = Bounds::new(2, 5_000_011);
/// The most endpoints that Rendezvous is for: each pick asks all.
pub const RENDEZVOUS_ENDPOINTS: usize = 1_000;
/// Segments of a path that make a class of requests.
pub const ROUTE_SEGMENTS: Bounds = Bounds::new(1, 8);
/// Percent of its weight that an endpoint starts with.
pub const MIN_WEIGHT_PERCENT: Bounds = Bounds::new(1, 100);
/// Endpoints that one sidecar uses.
pub const SUBSET_SIZE: Bounds = Bounds::new(1, 1_000);
/// Checks in a row.
pub const CHECK_THRESHOLD: Bounds = Bounds::new(1, 100);
/// Ranges of good statuses.
pub const EXPECTED_STATUSES: Bounds = Bounds::new(1, 16);
/// A status.
pub const STATUS: Bounds = Bounds::new(100, 599);
/// Errors in a row.
pub const CONSECUTIVE_ERRORS: Bounds = Bounds::new(1, 1_000);
/// A percentage that may be nothing.
pub const PERCENT: Bounds = Bounds::new(0, 100);
/// Further attempts.
pub const MAX_RETRIES: Bounds = Bounds::new(0, 10);
/// What may be retried.
pub const RETRY_ON: Bounds = Bounds::new(0, 2);
/// Requests on one client connection.
pub const MAX_REQUESTS: Bounds = Bounds::new(1, 1_000_000);
/// Requests or connections at once.
pub const PARALLEL: Bounds = Bounds::new(1, 1_000_000);
/// Requests that wait.
pub const PENDING: Bounds = Bounds::new(0, 10_000);

/// How long an endpoint starts slowly.
pub const SLOW_START: Bounds = Bounds::new(SECOND, HOUR);
/// From one check to the next.
pub const CHECK_INTERVAL: Bounds = Bounds::new(100, HOUR);
/// The longest one check may take.
pub const CHECK_TIMEOUT: Bounds = Bounds::new(1, MINUTE);
/// How long a row of errors may take.
pub const EJECTION_WINDOW: Bounds = Bounds::new(1, HOUR);
/// How long an ejection may last.
pub const EJECTION_TIME: Bounds = Bounds::new(1, 24 * HOUR);
/// The longest a connect may take.
pub const CONNECT_TIMEOUT: Bounds = Bounds::new(1, MINUTE);
/// From a request to the head of its answer.
pub const RESPONSE_HEAD_TIMEOUT: Bounds = Bounds::new(1, HOUR);
/// A connection, a request or a stream on which nothing moves, and a whole request.
pub const LONG_TIMEOUT: Bounds = Bounds::new(1, 24 * HOUR);
/// The longest that a request waits for its turn.
pub const PENDING_TIMEOUT: Bounds = Bounds::new(1, MINUTE);
/// A UDP session without a datagram.
pub const SESSION_TIMEOUT: Bounds = Bounds::new(1, HOUR);
/// The age of a client connection.
pub const CONNECTION_AGE: Bounds = Bounds::new(SECOND, 24 * HOUR);

/// A name within a pool, or of a Service: lower-case letters, digits, `-` (RFC 1123 label).
pub const LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// The length of such a name.
pub const LABEL_LENGTH: Bounds = Bounds::new(1, 63);
/// A zone's name.
pub const ZONE_LENGTH: Bounds = Bounds::new(1, 63);
/// A header's name (RFC 9110 token).
pub const HEADER_PATTERN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";
/// The length of a header's name.
pub const HEADER_LENGTH: Bounds = Bounds::new(1, 64);
/// A path in origin form; the query is part of it.
pub const PATH_PATTERN: &str = "^/[!-~]*$";
/// The length of a path.
pub const PATH_LENGTH: Bounds = Bounds::new(1, 1_024);
/// A host as a Host header holds it.
pub const HOST_PATTERN: &str = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:[0-9]{1,5})?$";
/// The length of a host.
pub const HOST_LENGTH: Bounds = Bounds::new(1, 253);
/// A name of DNS: lower-case labels (RFC 1123).
pub const DNS_NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// The same, or with `*` as its first label.
pub const HOSTNAME_PATTERN: &str = "^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A file by its absolute path; no part of it begins with two dots.
pub const FILE_PATTERN: &str = "^(/[.]?[A-Za-z0-9_-][A-Za-z0-9._-]*)+$";
/// The length of a file's path.
pub const FILE_LENGTH: Bounds = Bounds::new(2, 255);
/// What a network looks like; not all that do are one.
pub const CIDR_PATTERN: &str = "^[0-9A-Fa-f.:]+/[0-9]{1,3}$";
/// The length of a network: the longest is IPv6 with all its digits.
pub const CIDR_LENGTH: Bounds = Bounds::new(4, 43);

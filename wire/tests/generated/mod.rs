//! Arbitrary frames: every variant, every optional field present and absent.

use evenkeel_wire::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn pool_name() -> impl Strategy<Value = PoolName> {
    ("[a-z0-9-]{1,20}", "[a-z0-9.-]{1,20}").prop_map(|(namespace, name)| PoolName { namespace, name })
}

fn text() -> impl Strategy<Value = String> {
    // Any text: quotes, newlines and what lies outside of ASCII must survive the line format.
    prop_oneof![".{0,40}", "[\"\\\\\\n\\r\\t\\x00-\\x1f\u{2028}]{0,8}"]
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    let key = prop_oneof![text().prop_map(|name| HashKey::Header { name }), Just(HashKey::SourceIp)];
    let table = prop_oneof![
        any::<u32>().prop_map(|virtual_nodes| Table::Ring { virtual_nodes }),
        any::<u32>().prop_map(|size| Table::Maglev { size }),
        Just(Table::Rendezvous),
    ];
    let hash = (table, vec(key, 0..4), option::of(any::<u32>()))
        .prop_map(|(table, keys, hash_balance_factor)| Algorithm::ConsistentHash { table, keys, hash_balance_factor });
    let class = prop_oneof![any::<u32>().prop_map(|segments| CostClass::Route { segments }), Just(CostClass::BodyLength)];
    prop_oneof![
        Just(Algorithm::RoundRobin),
        Just(Algorithm::Random),
        any::<u32>().prop_map(|choice_count| Algorithm::LeastConnections { choice_count }),
        any::<u32>().prop_map(|choice_count| Algorithm::LeastResponseTime { choice_count }),
        Just(Algorithm::ResponseTimeWeighted),
        (any::<u32>(), class).prop_map(|(choice_count, class)| Algorithm::LeastCost { choice_count, class }),
        hash,
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    let v4 = (any::<u8>(), 8u8..=32).prop_map(|(first, prefix)| format!("{first}.0.0.0/{prefix}"));
    let v6 = (1u16.., 16u8..=128).prop_map(|(first, prefix)| format!("{first:x}::/{prefix}"));
    prop_oneof![v4, v6].prop_map(|text| text.parse().expect("a network"))
}

fn listener() -> impl Strategy<Value = Listener> {
    let protocol = prop_oneof![Just(Protocol::Http), Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Tls)];
    let version = prop_oneof![Just(TlsVersion::V1_2), Just(TlsVersion::V1_3)];
    let tls = (text(), text(), version).prop_map(|(certificate_file, key_file, min_version)| ListenerTls {
        certificate_file,
        key_file,
        min_version,
    });
    let proxy_protocol = vec(cidr(), 0..3).prop_map(|trusted| ProxyProtocolIn { trusted });
    let udp = any::<(u64, u32)>()
        .prop_map(|(idle_timeout_ms, max_sessions_per_source)| UdpSettings { idle_timeout_ms, max_sessions_per_source });
    let more = (option::of(tls), option::of(proxy_protocol), vec(text(), 0..3), option::of(udp));
    (text(), any::<u16>(), protocol, more).prop_map(|(name, port, protocol, (tls, proxy_protocol, hostnames, udp))| Listener {
        name,
        port,
        protocol,
        tls,
        proxy_protocol,
        hostnames,
        udp,
    })
}

fn upstream() -> impl Strategy<Value = Upstream> {
    let protocol = prop_oneof![Just(UpstreamProtocol::Auto), Just(UpstreamProtocol::Http1), Just(UpstreamProtocol::Http2)];
    let verification = prop_oneof![Just(Verification::Full), Just(Verification::ChainOnly), Just(Verification::Off)];
    let tls = (option::of(text()), option::of(text()), verification).prop_map(|(hostname, ca_file, verification)| UpstreamTls {
        hostname,
        ca_file,
        verification,
    });
    let version = prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)];
    (protocol, option::of(tls), option::of(version)).prop_map(|(protocol, tls, proxy_protocol)| Upstream {
        protocol,
        tls,
        proxy_protocol,
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let count = || option::of(any::<u32>());
    (count(), count(), count(), count(), any::<(u32, u64)>()).prop_map(
        |(
            max_parallel_requests_per_endpoint,
            max_parallel_requests,
            max_connections_per_endpoint,
            max_connections,
            (max_pending_requests, pending_timeout_ms),
        )| Limits {
            max_parallel_requests_per_endpoint,
            max_parallel_requests,
            max_connections_per_endpoint,
            max_connections,
            max_pending_requests,
            pending_timeout_ms,
        },
    )
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    (any::<(u64, u64, u64)>(), option::of(any::<u64>())).prop_map(|((response_head_ms, idle_ms, stream_idle_ms), request_ms)| {
        Timeouts { response_head_ms, idle_ms, request_ms, stream_idle_ms }
    })
}

fn client_connections() -> impl Strategy<Value = ClientConnections> {
    (option::of(any::<u64>()), option::of(any::<u32>()))
        .prop_map(|(max_age_ms, max_requests)| ClientConnections { max_age_ms, max_requests })
}

fn active() -> impl Strategy<Value = ActiveCheck> {
    let range = any::<(u16, u16)>().prop_map(|(start, end)| StatusRange { start, end });
    let http = (text(), option::of(text()), vec(range, 0..4)).prop_map(|(path, host, expected)| CheckKind::Http {
        path,
        host,
        expected,
    });
    let kind = prop_oneof![Just(CheckKind::Tcp), http];
    (kind, any::<(u64, u64, u32, u32)>()).prop_map(|(kind, (interval_ms, timeout_ms, unhealthy_threshold, healthy_threshold))| {
        ActiveCheck { kind, interval_ms, timeout_ms, unhealthy_threshold, healthy_threshold }
    })
}

fn passive() -> impl Strategy<Value = PassiveCheck> {
    any::<(u32, u64, u64, u64, u8)>().prop_map(
        |(consecutive_errors, window_ms, base_ejection_ms, max_ejection_ms, max_ejection_percent)| PassiveCheck {
            consecutive_errors,
            window_ms,
            base_ejection_ms,
            max_ejection_ms,
            max_ejection_percent,
        },
    )
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let on = prop_oneof![Just(RetryOn::ConnectFailure), Just(RetryOn::StaleConnection)];
    let retry = (any::<u32>(), vec(on, 0..3)).prop_map(|(max_retries, on)| Retry { max_retries, on });
    let parts = (vec(text(), 0..2), vec(listener(), 0..3), algorithm(), option::of(active()), option::of(passive()), retry);
    let slow_start =
        option::of(any::<(u64, u8)>().prop_map(|(window_ms, min_weight_percent)| SlowStart { window_ms, min_weight_percent }));
    let subset = option::of(any::<u32>().prop_map(|size| Subset { size }));
    let spread = (slow_start, any::<bool>(), subset);
    let path = (upstream(), client_connections(), limits(), timeouts());
    (parts, spread, path, any::<(i64, u8, u64)>()).prop_map(|(parts, spread, path, numbers)| {
        let (requires, listeners, algorithm, active, passive, retry) = parts;
        let (slow_start, zone_aware, subset) = spread;
        let (upstream, client_connections, limits, timeouts) = path;
        let (generation, panic_threshold, connect_timeout_ms) = numbers;
        Policy {
            requires,
            generation,
            listeners,
            algorithm,
            slow_start,
            zone_aware,
            subset,
            active,
            passive,
            panic_threshold,
            retry,
            connect_timeout_ms,
            upstream,
            client_connections,
            limits,
            timeouts,
        }
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let target = (text(), text(), text()).prop_map(|(namespace, name, uid)| Target { namespace, name, uid });
    let health = prop_oneof![Just(Health::Usable), Just(Health::Draining), Just(Health::NotReady), Just(Health::Down)];
    let optional = (option::of(text()), option::of(text()), option::of(target));
    (text(), text(), any::<(std::net::IpAddr, u16, u16, u8)>(), optional, health).prop_map(
        |(id, ring_key, (address, port, weight, priority), (zone, node, target), health)| Endpoint {
            id,
            ring_key,
            address,
            port,
            weight,
            priority,
            zone,
            node,
            target,
            health,
        },
    )
}

pub(crate) fn endpoints(max: usize) -> impl Strategy<Value = Vec<Endpoint>> {
    vec(endpoint(), 0..=max)
}

pub(crate) fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        (any::<u32>(), text(), option::of(text())).prop_map(|(version, lineage, zone)| ServerFrame::Hello(ServerHello {
            version,
            lineage,
            zone
        })),
        (pool_name(), any::<u64>(), policy()).prop_map(|(pool, revision, policy)| ServerFrame::Pool {
            pool,
            revision,
            policy: Box::new(policy)
        }),
        (pool_name(), any::<u64>(), endpoints(4)).prop_map(|(pool, revision, endpoints)| ServerFrame::Endpoints {
            pool,
            revision,
            endpoints
        }),
        (pool_name(), any::<u64>()).prop_map(|(pool, revision)| ServerFrame::Commit { pool, revision }),
        (pool_name(), text()).prop_map(|(pool, reason)| ServerFrame::Remove { pool, reason }),
        Just(ServerFrame::Synced),
        Just(ServerFrame::Heartbeat),
        (text(), any::<u64>()).prop_map(|(reason, retry_after_ms)| ServerFrame::Goodbye(Goodbye { reason, retry_after_ms })),
        Just(ServerFrame::Unknown),
    ]
}

pub(crate) fn client_frame() -> impl Strategy<Value = ClientFrame> {
    let have = proptest::collection::btree_map(text(), any::<u64>(), 0..4);
    prop_oneof![
        (vec(any::<u32>(), 0..3), option::of(text()), vec(text(), 0..4), have)
            .prop_map(|(versions, lineage, pools, have)| ClientFrame::Hello(ClientHello { versions, lineage, pools, have })),
        (pool_name(), any::<u64>()).prop_map(|(pool, revision)| ClientFrame::Ack { pool, revision }),
        (pool_name(), any::<u64>(), text()).prop_map(|(pool, revision, reason)| ClientFrame::Nack(Nack {
            pool,
            revision,
            reason
        })),
        Just(ClientFrame::Unknown),
    ]
}

//! How endpoints are spoken to.

use super::rule::{self, form};
use crate::Rejection;
use evenkeel_crds::pool::{ProxyVersion, Upstream, UpstreamProtocol, UpstreamTls, Verification};
use evenkeel_wire as wire;

const TLS: &str = "spec.upstream.tls";

pub(super) fn compile(upstream: &Upstream) -> Result<wire::Upstream, Rejection> {
    let Upstream { protocol, tls, proxy_protocol } = upstream;
    let protocol = match protocol {
        UpstreamProtocol::Auto => wire::UpstreamProtocol::Auto,
        UpstreamProtocol::Http1 => wire::UpstreamProtocol::Http1,
        UpstreamProtocol::Http2 => wire::UpstreamProtocol::Http2,
    };
    let proxy_protocol = proxy_protocol.map(|version| match version {
        ProxyVersion::V1 => wire::ProxyVersion::V1,
        ProxyVersion::V2 => wire::ProxyVersion::V2,
    });
    Ok(wire::Upstream { protocol, tls: tls.as_ref().map(compile_tls).transpose()?, proxy_protocol })
}

/// What sidecars must know so that nothing is sent that must not be.
pub(super) fn requires(upstream: &wire::Upstream) -> Vec<String> {
    let needs = [
        (upstream.tls.is_some(), wire::feature::UPSTREAM_TLS),
        (upstream.proxy_protocol.is_some(), wire::feature::UPSTREAM_PROXY_PROTOCOL),
    ];
    needs.into_iter().filter(|(needed, _)| *needed).map(|(_, feature)| feature.into()).collect()
}

fn compile_tls(tls: &UpstreamTls) -> Result<wire::UpstreamTls, Rejection> {
    let UpstreamTls { hostname, ca_file, verification } = tls;
    if let Some(hostname) = hostname {
        form(&format!("{TLS}.hostname"), hostname, rule::DNS_NAME)?;
    }
    if let Some(ca_file) = ca_file {
        form(&format!("{TLS}.caFile"), ca_file, rule::FILE)?;
    }
    let verification = match verification {
        Verification::Full if hostname.is_none() => {
            return Err(Rejection::MemberMissing { field: TLS.into(), member: "hostname", chosen: "verification: Full" });
        }
        Verification::Full => wire::Verification::Full,
        Verification::ChainOnly => wire::Verification::ChainOnly,
        Verification::None => wire::Verification::Off,
    };
    Ok(wire::UpstreamTls { hostname: hostname.clone(), ca_file: ca_file.clone(), verification })
}

/// What the author should know of whom endpoints' certificates let through.
pub(super) fn weak_verification(upstream: &wire::Upstream) -> Vec<String> {
    let Some(wire::UpstreamTls { hostname: _, ca_file, verification }) = &upstream.tls else { return Vec::new() };
    let said = |text: &str| vec![format!("{TLS}.{text}")];
    match (verification, ca_file) {
        (wire::Verification::Off, Some(_)) => {
            said("caFile has no effect, since verification is None: encrypted, but anyone may be at the other end")
        }
        (wire::Verification::Off, None) => said("verification is None: encrypted, but anyone may be at the other end"),
        (wire::Verification::ChainOnly, None) => said(
            "verification is ChainOnly without caFile: anyone with a certificate of a public authority may be at the other end",
        ),
        (wire::Verification::ChainOnly, Some(_)) | (wire::Verification::Full, _) => Vec::new(),
    }
}

/// Active checks are plain connects and plain HTTP/1.1: what an endpoint that expects something else makes of it.
pub(super) fn unfit_checks(upstream: &wire::Upstream, active: Option<&wire::ActiveCheck>) -> Option<String> {
    let wire::CheckKind::Http { .. } = active?.kind else { return None };
    let why = match upstream {
        wire::Upstream { tls: Some(_), .. } => "spec.upstream.tls",
        wire::Upstream { proxy_protocol: Some(_), .. } => "spec.upstream.proxyProtocol",
        wire::Upstream { protocol: wire::UpstreamProtocol::Http2, .. } => "spec.upstream.protocol",
        _ => return None,
    };
    Some(format!(
        "spec.healthCheck.active asks in plain HTTP/1.1, whatever {why} says: endpoints that answer nothing else are taken out; \
         use type: TCP"
    ))
}

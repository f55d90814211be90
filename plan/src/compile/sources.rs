//! Where a pool's endpoints may come from, by mode.

use super::rule::{self, at, form, unique, within};
use crate::{Mode, Rejection, address};
use evenkeel_crds::bounds;
use evenkeel_crds::pool::{PortRef, ServiceSource, Source, StaticEndpoint, StaticSource};
use evenkeel_wire as wire;

pub(super) fn check(sources: &[Source], mode: Mode) -> Result<(), Rejection> {
    within("the number of spec.sources", sources.len(), bounds::SOURCES)?;
    unique(sources, "spec.sources", "name", |s| s.name.clone())?;
    for (i, source) in sources.iter().enumerate() {
        check_source(&at("spec.sources", i), source, mode)?;
    }
    Ok(())
}

/// What sidecars must know to tell primaries from backups; nothing where all are alike.
pub(super) fn requires(sources: &[Source]) -> Vec<String> {
    match sources.windows(2).any(|pair| pair[0].priority != pair[1].priority) {
        true => vec![wire::feature::PRIORITY.into()],
        false => Vec::new(),
    }
}

/// A warning where there is nothing to be a backup of.
pub(super) fn unneeded_priority(sources: &[Source]) -> Option<String> {
    let first = sources.first()?.priority;
    let alike = first > 0 && sources.iter().all(|source| source.priority == first);
    alike.then(|| format!("spec.sources: priority has no effect, since it is {first} for each source"))
}

fn check_source(field: &str, source: &Source, mode: Mode) -> Result<(), Rejection> {
    let Source { name, priority, service, fixed } = source;
    form(&format!("{field}.name"), name, rule::LABEL)?;
    within(&format!("{field}.priority"), *priority, bounds::PRIORITY)?;
    match (service, fixed, mode) {
        (None, None, _) => Err(Rejection::SourceMembers { field: field.into(), count: 0 }),
        (Some(_), Some(_), _) => Err(Rejection::SourceMembers { field: field.into(), count: 2 }),
        (Some(service), None, Mode::Cluster) => check_service(field, service),
        (None, Some(fixed), Mode::Embedded) => check_static(field, fixed, mode),
        (Some(_), None, Mode::Embedded) => Err(Rejection::ServiceInEmbedded { field: field.into() }),
        (None, Some(_), Mode::Cluster) => Err(Rejection::StaticInCluster { field: field.into() }),
    }
}

fn check_service(field: &str, service: &ServiceSource) -> Result<(), Rejection> {
    form(&format!("{field}.service.name"), &service.name, rule::LABEL)?;
    let field = format!("{field}.service.port");
    match &service.port {
        Some(PortRef::Number(port)) => within(&field, *port, bounds::PORT),
        Some(PortRef::Name(name)) => form(&field, name, rule::LABEL),
        None => Ok(()),
    }
}

fn check_static(field: &str, fixed: &StaticSource, mode: Mode) -> Result<(), Rejection> {
    let list = format!("{field}.static.endpoints");
    within(&format!("the number of {list}"), fixed.endpoints.len(), bounds::STATIC_ENDPOINTS)?;
    unique(&fixed.endpoints, &list, "address", |e| crate::assemble::socket(e.address, e.port))?;
    for (i, endpoint) in fixed.endpoints.iter().enumerate() {
        check_endpoint(&at(&list, i), endpoint, mode)?;
    }
    Ok(())
}

fn check_endpoint(field: &str, endpoint: &StaticEndpoint, mode: Mode) -> Result<(), Rejection> {
    let StaticEndpoint { address, port, weight, zone } = endpoint;
    if let Some(refusal) = address::refusal(*address, mode) {
        return Err(Rejection::Address { field: format!("{field}.address"), address: *address, refusal });
    }
    within(&format!("{field}.port"), *port, bounds::PORT)?;
    within(&format!("{field}.weight"), *weight, bounds::WEIGHT)?;
    zone.as_deref().map_or(Ok(()), |zone| form(&format!("{field}.zone"), zone, rule::ZONE))
}

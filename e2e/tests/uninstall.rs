//! `helm test`, and then `helm uninstall`: what stays are CRDs, pools and their lists. Runs last, and alone.

use anyhow::{Result, ensure};
use evenkeel_e2e::harness::install::{self, NAMESPACE, RELEASE};
use evenkeel_e2e::harness::scene::web;
use evenkeel_e2e::harness::suite::Suite;
use evenkeel_e2e::harness::temp_ns::{TempNs, name, with_temp_ns};
use evenkeel_e2e::harness::wait::{self, Look};
use serde_json::json;
use std::time::Duration;

/// What Kubernetes itself puts into each namespace.
const BUILT_IN: [&str; 2] = ["kube-root-ca.crt", "default"];

fn left_in_namespace(suite: &Suite) -> Result<Vec<String>> {
    let lists = [
        "/api/v1/namespaces/NS/pods",
        "/api/v1/namespaces/NS/services",
        "/api/v1/namespaces/NS/secrets",
        "/api/v1/namespaces/NS/configmaps",
        "/api/v1/namespaces/NS/serviceaccounts",
        "/apis/apps/v1/namespaces/NS/deployments",
        "/apis/apps/v1/namespaces/NS/replicasets",
        "/apis/batch/v1/namespaces/NS/jobs",
        "/apis/discovery.k8s.io/v1/namespaces/NS/endpointslices",
        "/apis/coordination.k8s.io/v1/namespaces/NS/leases",
        "/apis/policy/v1/namespaces/NS/poddisruptionbudgets",
        "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings",
    ];
    let mut left = Vec::new();
    for list in lists {
        for object in suite.cluster.api.list(&list.replace("NS", NAMESPACE))? {
            if !BUILT_IN.contains(&name(&object).as_str()) {
                left.push(format!("{} {}", list.rsplit('/').next().unwrap_or_default(), name(&object)));
            }
        }
    }
    Ok(left)
}

fn left_in_cluster(suite: &Suite) -> Result<Vec<String>> {
    let lists = [
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        "/api/v1/namespaces",
    ];
    let mut left = Vec::new();
    for list in lists {
        let objects = suite.cluster.api.list(list)?;
        let ours = objects.iter().map(name).filter(|name| name.contains(RELEASE) && name != NAMESPACE);
        left.extend(ours.map(|name| format!("{} {name}", list.rsplit('/').next().unwrap_or_default())));
    }
    Ok(left)
}

fn stays(ns: &TempNs) -> Result<()> {
    let api = &ns.suite().cluster.api;
    for crd in ["balancerpools.evenkeel.dev", "balancerendpoints.evenkeel.dev"] {
        api.get(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}"))?;
    }
    ensure!(api.list(&ns.own_path("balancerpools"))?.len() == 1, "the pool is gone");
    ensure!(api.list(&ns.own_path("balancerendpoints"))?.len() == 1, "its list is gone");
    Ok(())
}

#[test]
fn helm_test_sends_traffic_and_helm_uninstall_leaves_only_crds_pools_and_their_lists() -> Result<()> {
    with_temp_ns("uninstall", |ns| {
        let suite = ns.suite();
        ns.scene(&[web(1, &[])], &json!({}), &["client"])?;
        let words = ["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "90s"];
        println!("{}", suite.cluster.helm(&words, Duration::from_secs(120))?.successful("helm test")?);
        wait::until("the pool's list", Duration::from_secs(15), || {
            let count = suite.cluster.api.list(&ns.own_path("balancerendpoints"))?.len();
            Ok(Look::from((count == 1).then_some(()), || format!("{count}")))
        })?;

        install::uninstall(&suite.cluster)?;
        wait::until("nothing is left", Duration::from_secs(40), || {
            let left = [left_in_namespace(suite)?, left_in_cluster(suite)?].concat();
            Ok(Look::from(left.is_empty().then_some(()), || left.join(", ")))
        })?;
        stays(ns)
    })
}

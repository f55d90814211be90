//! Who may ask what: the feed's tokens, pools across namespaces, and how little operator and sidecar may do.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::harness::feed::{Feed, sign_token};
use evenkeel_e2e::harness::install::{NAMESPACE, OPERATOR};
use evenkeel_e2e::harness::manifest::{pool, spec};
use evenkeel_e2e::harness::scene::{POOL, PORT, SERVICE, web};
use evenkeel_e2e::harness::temp_ns::{TempNs, flawless, with_temp_ns};
use serde_json::{Value, json};

const SIDECAR: &str = "evenkeel-sidecar";

fn only_pod(ns: &TempNs, selector: &str) -> Result<Value> {
    ns.pods(selector)?.into_iter().next().with_context(|| format!("no pod with {selector}"))
}

fn sidecar(pod: &Value) -> Result<&Value> {
    let mut containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers.find(|container| container["name"] == SIDECAR).context("the pod has no sidecar")
}

/// A token that the API server makes for a pod.
fn token(ns: &TempNs, pod: &Value, audience: Option<&str>) -> Result<String> {
    let [name, uid] = ["name", "uid"].map(|field| pod["metadata"][field].as_str().unwrap_or_default());
    let mut words = vec!["create", "token", "default", "--bound-object-kind=Pod", "--bound-object-name", name];
    words.extend(["--bound-object-uid", uid]);
    if let Some(audience) = audience {
        words.extend(["--audience", audience]);
    }
    Ok(ns.kubectl(&words)?.trim().to_owned())
}

#[test]
fn the_feed_is_closed_to_strangers_and_to_expired_tokens() -> Result<()> {
    with_temp_ns("tokens", |ns| {
        let cluster = &ns.suite().cluster;
        ns.scene(&[web(1, &[])], &json!({}), &["client"])?;
        let pod = only_pod(ns, "app=client")?;
        let account = cluster.api.get(&ns.path("serviceaccounts/default"))?;
        let feed = Feed::open(cluster, sidecar(&pod)?)?;
        let own = format!("{}/{POOL}", ns.name);
        let ask = |token: Option<&str>| feed.ask(token, &[&own]);

        let valid = ask(Some(&token(ns, &pod, Some("evenkeel"))?))?;
        ensure!(valid.status == 200 && valid.pools() == [own.as_str()] && valid.is_synced(), "{valid:?}");
        let signed = ask(Some(&sign_token(cluster, &pod, &account, "evenkeel", 600)?))?;
        ensure!(
            signed.status == 200,
            "a good token of our own making is refused, so the next refusals prove nothing: {signed:?}"
        );

        let refused = [
            ("no token", None),
            ("nonsense", Some("nonsense".to_owned())),
            ("another audience", Some(token(ns, &pod, Some("another"))?)),
            ("the API server's audience", Some(token(ns, &pod, None)?)),
            ("an expired token", Some(sign_token(cluster, &pod, &account, "evenkeel", -600)?)),
        ];
        for (what, token) in refused {
            let answer = ask(token.as_deref())?;
            ensure!(answer.status == 401 && answer.pools().is_empty(), "{what}: {answer:?}");
        }
        Ok(())
    })
}

#[test]
fn a_pool_of_another_namespace_is_invisible_without_consent_and_request() -> Result<()> {
    with_temp_ns("owner", |owner| {
        owner.scene(&[web(2, &[])], &json!({}), &[])?;
        with_temp_ns("guest", |guest| {
            let cluster = &guest.suite().cluster;
            let foreign = format!("{}/{POOL}", owner.name);
            guest.client("client", &foreign)?;
            guest.ready_pods("app=client", 1)?;
            let pod = only_pod(guest, "app=client")?;
            let feed = Feed::open(cluster, sidecar(&pod)?)?;
            let token = token(guest, &pod, Some("evenkeel"))?;
            let told = |pools: &[&str]| feed.ask(Some(&token), pools);

            let answer = told(&[&foreign])?;
            ensure!(answer.is_synced() && answer.pools().is_empty(), "told without consent: {answer:?}");
            let consent = |from: &str| {
                owner.apply(&[pool(POOL, &spec(SERVICE, PORT, &json!({"consumers": {"namespaces": {"from": from}}})))])
            };
            consent("All")?;
            owner_pool_reaches(owner, guest, 2)?;
            let summary = guest.load("client", "load --url http://127.0.0.1:18080/ --requests 200")?;
            flawless(&summary, 200)?;
            ensure!(told(&[&foreign])?.pools() == [foreign.as_str()], "not told with consent");
            let all_own = format!("{}/*", guest.name);
            let answer = told(&[&all_own])?;
            ensure!(answer.is_synced() && answer.pools().is_empty(), "told without request: {answer:?}");

            consent("Same")?;
            owner_pool_reaches(owner, guest, 0)?;
            ensure!(told(&[&foreign])?.pools().is_empty(), "still told after the consent was withdrawn");
            Ok(())
        })
    })
}

/// Waits until the guest's sidecar sees so many endpoints of the owner's pool.
fn owner_pool_reaches(owner: &TempNs, guest: &TempNs, usable: usize) -> Result<()> {
    guest.sees_of("client", &format!("{}/{POOL}", owner.name), usable)
}

/// What `kubectl auth can-i` answers for an account.
fn can(ns: &TempNs, account: &str, words: &str) -> Result<bool> {
    let words: Vec<_> = words.split_whitespace().collect();
    let said = ns.suite().cluster.kubectl(&[&["auth", "can-i", "--as", account], &words[..]].concat(), "")?;
    match said.out.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => anyhow::bail!("kubectl auth can-i {words:?}: {other}{}", said.err),
    }
}

#[test]
fn the_operator_may_do_little() -> Result<()> {
    with_temp_ns("rights", |ns| {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{OPERATOR}");
        let deployment = ns.suite().cluster.api.get(&path)?;
        let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().context("no account")?;
        let account = format!("system:serviceaccount:{NAMESPACE}:{account}");
        let needed = [
            "list balancerpools.evenkeel.dev -A",
            "patch balancerpools.evenkeel.dev --subresource=status -A",
            "list endpointslices.discovery.k8s.io -A",
            "create tokenreviews.authentication.k8s.io",
            "get nodes",
        ];
        for words in needed {
            ensure!(can(ns, &account, words)?, "the operator may not {words}");
        }
        let own = format!("list secrets -n {NAMESPACE}");
        let foreign = format!("get secrets/any -n {}", ns.name);
        let other = format!("get secrets/any -n {NAMESPACE}");
        let excessive = [
            "* * -A",
            "create pods -A",
            "patch pods -A",
            "delete pods -A",
            "create pods --subresource=exec -A",
            "update services -A",
            "update balancerpools.evenkeel.dev -A",
            "patch balancerpools.evenkeel.dev -A",
            "create clusterrolebindings.rbac.authorization.k8s.io",
            "impersonate users",
            "list secrets -A",
            "list configmaps -A",
            "list nodes",
            "patch nodes",
            &own,
            &foreign,
            &other,
        ];
        for words in excessive {
            ensure!(!can(ns, &account, words)?, "the operator may {words}");
        }
        Ok(())
    })
}

#[test]
fn a_sidecar_brings_its_pod_no_rights() -> Result<()> {
    with_temp_ns("no-rights", |ns| {
        ns.apply(&[pool(POOL, &spec(SERVICE, PORT, &json!({})))])?;
        ns.client("client", POOL)?;
        let account = format!("system:serviceaccount:{}:default", ns.name);
        for what in ["pods", "secrets", "services", "endpointslices.discovery.k8s.io", "balancerpools.evenkeel.dev"] {
            for verb in ["get", "list", "create", "delete"] {
                let words = format!("{verb} {what} -n {}", ns.name);
                ensure!(!can(ns, &account, &words)?, "the sidecar's account may {words}");
            }
        }
        let pod = only_pod(ns, "app=client")?;
        let mounts = sidecar(&pod)?["volumeMounts"].as_array().cloned().unwrap_or_default();
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let mounted = volumes.iter().filter(|volume| mounts.iter().any(|mount| mount["name"] == volume["name"]));
        let sources: Vec<_> = mounted.flat_map(|volume| volume["projected"]["sources"].as_array().cloned()).flatten().collect();
        let tokens: Vec<_> = sources.iter().filter_map(|source| source["serviceAccountToken"]["audience"].as_str()).collect();
        ensure!(tokens == ["evenkeel"] && sources.len() == 1, "mounted into the sidecar: {sources:?}");
        let security = &sidecar(&pod)?["securityContext"];
        let tight = security["readOnlyRootFilesystem"] == true
            && security["allowPrivilegeEscalation"] == false
            && security["runAsNonRoot"] == true
            && security["capabilities"]["drop"] == json!(["ALL"]);
        ensure!(tight, "{security}");
        Ok(())
    })
}

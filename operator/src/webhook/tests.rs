//! Injection in process: pods go in, patched pods come out.

use super::decide::{CONTAINER, Collision, EXCLUDED, PoolView, Pools, Refusal, Skip};
use super::*;
use evenkeel_wire::TransportPort;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn settings() -> SidecarSettings {
    let text =
        json!({"image": "evenkeel.dev/sidecar:1", "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}});
    text.to_string().parse().unwrap()
}

fn pods_labels() -> Value {
    json!({"app": "cart"})
}

/// A pod of namespace `shop` with an annotation and further fields of its spec.
fn pod(pools: Option<&str>, spec: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"generateName": "app-", "labels": pods_labels()},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    if let Some(pools) = pools {
        pod["metadata"]["annotations"] = json!({decide::POOLS: pools});
    }
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn pools() -> Pools {
    let view = |ports: &[(&str, &str)], selector: &[(&str, &str)]| PoolView {
        listeners: ports.iter().map(|&(name, port)| (name.into(), port.parse().unwrap())).collect(),
        selectors: vec![selector.iter().map(|&(name, value)| (name.into(), value.into())).collect()],
    };
    Pools::from([
        (
            "shop/checkout".parse().unwrap(),
            view(&[("http", "18080"), ("tcp", "18081"), ("dns", "5353/UDP")], &[("app", "checkout")]),
        ),
        ("shop/cart".parse().unwrap(), view(&[("http", "18090")], &[("app", "cart")])),
        ("shop/headless".parse().unwrap(), view(&[("http", "18100")], &[])),
    ])
}

fn decision(pod: &Value) -> Decision {
    decide(&serde_json::from_value(pod.clone()).unwrap(), "shop", &pools())
}

fn injection(pod: &Value) -> decide::Injection {
    match decision(pod) {
        Decision::Inject(injection) => injection,
        other => panic!("{other:?}"),
    }
}

/// The pod after one admission.
fn injected(pod: &Value) -> Value {
    let sidecar = settings();
    let common = Common { sidecar: &sidecar, feed_url: "https://evenkeel-operator.evenkeel-system.svc:16443", ca_pem: CA };
    let patch = patch(&serde_json::from_value(pod.clone()).unwrap(), &injection(pod), common);
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

fn env<'a>(pod: &'a Value, name: &str) -> &'a str {
    let env = pod["spec"]["initContainers"][0]["env"].as_array().unwrap();
    env.iter().find(|env| env["name"] == name).unwrap()["value"].as_str().unwrap()
}

#[test]
fn the_sidecar_is_the_first_init_container_and_restarts_always() {
    let init = json!({"initContainers": [{"name": "migrate", "image": "m"}], "volumes": [{"name": "v", "emptyDir": {}}]});
    for pod in [pod(Some("checkout"), &json!({})), pod(Some("checkout"), &init)] {
        let after = injected(&pod);
        let sidecar = &after["spec"]["initContainers"][0];
        assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!(CONTAINER), &json!("Always")));
        assert!(sidecar.get("readinessProbe").is_none());
        assert_eq!(after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"], "evenkeel");
        let own = |list: &str| pod["spec"][list].as_array().map_or(0, Vec::len);
        for list in ["initContainers", "volumes"] {
            assert_eq!(after["spec"][list].as_array().unwrap().len(), own(list) + 1);
        }
    }
}

#[test]
fn the_sidecar_passes_restricted_pod_security_and_holds_no_api_token() {
    let after = injected(&pod(Some("checkout"), &json!({})));
    let sidecar = &after["spec"]["initContainers"][0];
    let expected = json!({
        "runAsNonRoot": true, "runAsUser": 14021, "runAsGroup": 14021, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(sidecar["securityContext"], expected);
    assert_eq!(sidecar["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(env(&after, "EVENKEEL_FEED_CA"), CA);
    assert_eq!(sidecar["resources"]["requests"]["cpu"], "10m");
}

#[test]
fn the_sidecar_learns_its_pods_address_which_source_keys_are_made_of() {
    let after = injected(&pod(Some("checkout"), &json!({})));
    let env = after["spec"]["initContainers"][0]["env"].as_array().unwrap();
    let address = json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}});
    assert!(env.contains(&address), "{env:?}");
}

#[test]
fn admission_twice_is_admission_once_whatever_defaults_came_between() {
    let once = injected(&pod(Some("*"), &json!({"containers": [{"name": "app", "ports": [{"containerPort": 18080}]}]})));
    assert_eq!(injected(&once), once);
    let mut defaulted = once.clone();
    let sidecar = &mut defaulted["spec"]["initContainers"][0];
    sidecar["terminationMessagePath"] = json!("/dev/termination-log");
    sidecar["startupProbe"]["successThreshold"] = json!(1);
    sidecar["env"][3]["valueFrom"]["fieldRef"]["apiVersion"] = json!("v1");
    sidecar["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "other", "mountPath": "/other"}));
    defaulted["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "other-first"}));
    assert_eq!(injected(&defaulted), defaulted);
    let mut copied = pod(Some("checkout"), &json!({}));
    copied["spec"]["initContainers"] = injected(&pod(Some("cart"), &json!({})))["spec"]["initContainers"].clone();
    copied["metadata"]["annotations"][EXCLUDED] = json!("of another pod");
    let converged = injected(&copied);
    assert_eq!(env(&converged, "EVENKEEL_POOLS"), "shop/checkout");
    assert_eq!(converged["spec"]["initContainers"].as_array().unwrap().len(), 1);
    assert!(converged["metadata"]["annotations"].get(EXCLUDED).is_none());
}

#[test]
fn an_empty_value_that_the_api_server_dropped_is_no_difference() {
    let mut once = injected(&pod(Some("checkout"), &json!({})));
    assert_eq!(env(&once, "EVENKEEL_EXCLUDE_LISTENERS"), "");
    once["spec"]["initContainers"][0]["env"][1].as_object_mut().unwrap().remove("value");
    assert_eq!(injected(&once), once);
}

#[test]
fn names_are_resolved_against_the_pods_namespace() {
    let after = injected(&pod(Some(" checkout, stock/list ,checkout,"), &json!({})));
    assert_eq!(env(&after, "EVENKEEL_POOLS"), "shop/checkout,stock/list");
    assert_eq!(env(&injected(&pod(Some("*"), &json!({}))), "EVENKEEL_POOLS"), "shop/*");
}

#[test]
fn a_listener_on_a_containers_port_is_left_out_and_said() {
    let ports = json!([{"containerPort": 18081}, {"containerPort": 53, "protocol": "SCTP"}]);
    let pod = pod(Some("checkout, gone"), &json!({"containers": [{"name": "app", "ports": ports}]}));
    let after = injected(&pod);
    assert_eq!(env(&after, "EVENKEEL_EXCLUDE_LISTENERS"), "18081");
    assert_eq!(after["metadata"]["annotations"][EXCLUDED], "shop/checkout/tcp:18081 (a container's port)");
    let warnings = injection(&pod).warnings();
    assert!(warnings[0].contains("shop/checkout/tcp:18081") && warnings[1].contains("shop/gone"), "{warnings:?}");
}

#[test]
fn a_port_of_udp_and_one_of_tcp_are_two() {
    let declares = |port: u16, protocol: &str| {
        let ports = json!([{"containerPort": port, "protocol": protocol}]);
        injected(&pod(Some("checkout"), &json!({"containers": [{"name": "app", "ports": ports}]})))
    };
    let after = declares(5353, "UDP");
    assert_eq!(env(&after, "EVENKEEL_EXCLUDE_LISTENERS"), "5353/UDP");
    assert_eq!(after["metadata"]["annotations"][EXCLUDED], "shop/checkout/dns:5353/UDP (a container's port)");
    for (port, protocol, excluded) in [(5353, "TCP", "5353"), (18080, "UDP", "18080/UDP")] {
        let after = declares(port, protocol);
        assert_eq!(env(&after, "EVENKEEL_EXCLUDE_LISTENERS"), excluded, "the app's, should a pool come to want it");
        assert_eq!(after["metadata"]["annotations"].get(EXCLUDED), None, "no listener has it");
    }
}

#[test]
fn the_files_of_the_secret_that_a_pod_names_are_the_sidecars_alone() {
    let named = |name: &str| {
        let mut pod = pod(Some("checkout"), &json!({}));
        pod["metadata"]["annotations"][decide::TLS_SECRET] = json!(name);
        pod
    };
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let mut with_volumes = named(" web-tls ");
    with_volumes["spec"]["volumes"] = volumes["volumes"].clone();
    for pod in [named("web-tls"), with_volumes] {
        let after = injected(&pod);
        let sidecar = &after["spec"]["initContainers"][0];
        assert_eq!(
            sidecar["volumeMounts"][1],
            json!({"name": "evenkeel-tls", "mountPath": "/etc/evenkeel/tls", "readOnly": true})
        );
        let volume = json!({"name": "evenkeel-tls", "secret": {"secretName": "web-tls"}});
        assert_eq!(after["spec"]["volumes"][1], volume, "after the token's");
        assert_eq!(after["spec"]["containers"], pod["spec"]["containers"], "the app gets nothing of it");
        assert_eq!(injected(&after), after);
    }
    let mut other = injected(&named("web-tls"));
    other["metadata"]["annotations"][decide::TLS_SECRET] = json!("next");
    assert_eq!(injected(&other)["spec"]["volumes"][1]["secret"]["secretName"], "next");
    assert_eq!(injected(&other)["spec"]["volumes"].as_array().unwrap().len(), 2);
    for bad in ["", "a b", "Web", "../x", &"a".repeat(254)] {
        let Decision::Refuse(refusal) = decision(&named(bad)) else { panic!("{bad} is a name") };
        assert!(refusal.to_string().contains("evenkeel.dev/tls-secret"), "{refusal}");
    }
}

#[test]
fn an_endpoint_of_a_pool_keeps_that_pools_ports_to_itself() {
    let injection = injection(&pod(Some("*"), &json!({})));
    let [excluded] = injection.excluded.as_slice() else { panic!("{injection:?}") };
    assert_eq!((excluded.port, excluded.collision), (TransportPort::tcp(18090), Collision::OwnEndpoint));
    assert_eq!(injection.exclude_ports, [TransportPort::tcp(18090)].into());
}

#[test]
fn pods_that_cannot_be_served_pass_with_a_warning() {
    let taken = json!({"containers": [{"name": CONTAINER, "image": "app"}]});
    let declares = |port: u16, protocol: &str| {
        let ports = json!([{"containerPort": port, "protocol": protocol}]);
        pod(Some("checkout"), &json!({"containers": [{"name": "app", "ports": ports}]}))
    };
    let cases = [
        (declares(16080, "TCP"), Skip::PortTaken(16080)),
        (declares(16081, "TCP"), Skip::PortTaken(16081)),
        (pod(None, &json!({})), Skip::NoPools),
        (pod(Some(" , "), &json!({})), Skip::NoPools),
        (pod(Some("checkout"), &json!({"hostNetwork": true})), Skip::HostNetwork),
        (pod(Some("checkout"), &taken), Skip::NameTaken),
    ];
    for (pod, skip) in cases {
        assert_eq!(decision(&pod), Decision::Skip(skip));
        assert!(skip.warning().unwrap().len() <= 256);
    }
    assert!(Skip::NoPools.warning().unwrap().contains("evenkeel.dev/pools"));
    assert!(Skip::PortTaken(16081).warning().unwrap().contains("16081"));
    assert!(matches!(decision(&declares(16081, "UDP")), Decision::Inject(_)));
}

#[test]
fn an_entry_that_names_no_pool_refuses_the_pod_and_is_named() {
    for entry in ["stock/*", "Checkout", "a/b/c", "*/list"] {
        let refused = decision(&pod(Some(&format!("checkout, {entry}")), &json!({})));
        assert_eq!(refused, Decision::Refuse(Refusal::Name(entry.into())));
    }
}

/// What the API server asks about a pod.
fn review(pod: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "operation": "CREATE", "namespace": "shop", "userInfo": {}, "object": pod,
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
    }})
}

#[test]
fn an_answer_carries_patch_warnings_and_the_requests_uid() {
    let sidecar = settings();
    let common = Common { sidecar: &sidecar, feed_url: "https://feed", ca_pem: CA };
    let answer = |pod: &Value| {
        let request = read(review(pod).to_string().as_bytes()).unwrap();
        let answer = respond(AdmissionResponse::from(&request), request.object.as_ref().unwrap(), decision(pod), common);
        serde_json::to_value(answer.into_review()).unwrap()["response"].clone()
    };
    let good = answer(&pod(Some("checkout, gone"), &json!({})));
    assert_eq!((&good["uid"], &good["allowed"], &good["patchType"]), (&json!("u-1"), &json!(true), &json!("JSONPatch")));
    assert_eq!(good["warnings"].as_array().unwrap().len(), 1);
    let plain = answer(&pod(None, &json!({})));
    assert_eq!((&plain["allowed"], plain.get("patch")), (&json!(true), None));
    let bad = answer(&pod(Some("UPPER"), &json!({})));
    assert_eq!(bad["allowed"], false);
    assert!(bad["status"]["message"].as_str().unwrap().contains("`UPPER`"));
    assert!(read(b"{}").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_or_too_slow_is_refused_and_gives_its_turn_back() {
    let large = Body::from(vec![b' '; MAX_BODY + 1]);
    assert_eq!(receive(large).await, Err(Unanswered::Body));
    let slow = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(receive(slow).await, Err(Unanswered::Slow));
    assert_eq!(receive(Body::from("{}")).await, Ok(Bytes::from("{}")));
}

#[tokio::test]
async fn who_does_not_know_the_path_learns_nothing_and_takes_no_turn() {
    let path = WebhookPath::random().unwrap();
    // An API server without pools.
    let client = kube::Client::new(Router::new().fallback(async || Json(json!({"metadata": {}, "items": []}))), "default");
    let certs = Arc::new(Certs::make(vec!["x".into()], std::time::SystemTime::now()).unwrap());
    let webhook = Webhook::new(path.clone(), client, certs, settings(), "https://feed".into());
    let routes = TowerToHyperService::new(router(webhook.clone()));
    let review = review(&pod(Some("checkout"), &json!({})));
    let status = async |path: &str| {
        let request = axum::http::Request::post(path).body(Body::from(review.to_string())).unwrap();
        routes.call(request).await.unwrap().status()
    };
    assert_eq!(status(path.as_str()).await, StatusCode::OK);
    let _all = webhook.turns.acquire_many(MAX_ADMISSIONS as u32).await.unwrap();
    for guess in ["/inject", "/inject/", "/", WebhookPath::random().unwrap().as_str()] {
        assert_eq!(status(guess).await, StatusCode::NOT_FOUND, "{guess}");
    }
}

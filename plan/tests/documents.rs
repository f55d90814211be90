//! Pool files: what is read, and what each mistake is answered with.

use evenkeel_plan::document::{self, DocumentError, MAX_BYTES};

const GOOD: &str = "apiVersion: evenkeel.dev/v1alpha1
kind: BalancerPool
metadata: {name: a}
spec:
  sources: [{name: s, static: {endpoints: [{address: 127.0.0.1, port: 9001}]}}]
";

fn error(text: &str) -> String {
    document::read(text).expect_err("refused").to_string()
}

#[test]
fn several_documents_are_read_in_their_order() {
    let other = GOOD.replace("{name: a}", "{name: b, namespace: shop, labels: {team: x}}");
    let documents = document::read(&format!("# a comment\n---\n{GOOD}---\n---\n{other}")).expect("two pools");
    let names: Vec<String> = documents.iter().map(|d| d.name.to_string()).collect();
    assert_eq!(names, ["default/a", "shop/b"]);
}

#[test]
fn what_the_cluster_adds_may_stay_in() {
    let text = format!("{}status: {{endpoints: {{total: 3}}}}\n", GOOD.replace("{name: a}", "{name: a, uid: x, generation: 3}"));
    assert_eq!(document::read(&text).expect("a pool").len(), 1);
}

#[test]
fn an_unknown_field_is_named_with_its_document_and_line() {
    let said = error(&format!("{GOOD}---\n{}  slowSart: {{window: 30s}}\n", GOOD.replace("name: a", "name: b")));
    for part in ["document 2 (b)", "spec.slowSart: unknown field `slowSart`", "line 12"] {
        assert!(said.contains(part), "{said}");
    }
    let said = error(&GOOD.replace("port: 9001", "prot: 9001"));
    assert!(said.contains("spec.sources[0].static.endpoints[0].prot: unknown field `prot`") && said.contains("line 5"), "{said}");
    let said = error(&format!("{GOOD}data: {{}}\n"));
    assert!(said.contains("unknown field `data`"), "{said}");
}

#[test]
fn a_wrong_type_is_named_with_its_line() {
    for port in ["many", "70000", "-1", "1.5"] {
        let said = error(&GOOD.replace("port: 9001", &format!("port: {port}")));
        assert!(said.contains("document 1 (a)") && said.contains("port: not a whole number from 0 to 65535"), "{said}");
        assert!(said.contains("line 5"), "{said}");
    }
    let said = error(&GOOD.replace("127.0.0.1", "backend.example"));
    assert!(said.contains("address: not an IPv4 or IPv6 address") && said.contains("line 5"), "{said}");
    let said = error(&format!("{GOOD}  subsetting: {{size: all}}\n"));
    assert!(said.contains("spec.subsetting.size: not a whole number"), "{said}");
}

#[test]
fn another_kind_or_version_is_named() {
    let said = error(&GOOD.replace("BalancerPool", "Service"));
    assert!(said.contains("document 1 (a)") && said.contains("kind is `Service`; it must be BalancerPool"), "{said}");
    let said = error(&GOOD.replace("v1alpha1", "v2"));
    assert!(said.contains("apiVersion is `evenkeel.dev/v2`; it must be evenkeel.dev/v1alpha1"), "{said}");
    let said = error(&GOOD.replace("kind: BalancerPool\n", ""));
    assert!(said.contains("kind is missing"), "{said}");
}

#[test]
fn a_pool_without_a_name_or_with_a_bad_one_is_refused() {
    assert!(error(&GOOD.replace("{name: a}", "{}")).contains("metadata.name is missing"));
    assert!(error(&GOOD.replace("{name: a}", "{name: A_B}")).contains("lower-case"));
    assert!(error(&GOOD.replace("{name: a}", "{name: a, namespace: a/b}")).contains("lower-case"));
}

#[test]
fn the_same_pool_twice_is_refused() {
    let twice = format!("{GOOD}---\n{GOOD}");
    assert!(matches!(document::read(&twice), Err(DocumentError::Twice { .. })));
    assert!(error(&twice).contains("document 2 (a)"));
}

#[test]
fn a_key_given_twice_is_refused() {
    let said = error(&GOOD.replace("spec:\n", "spec:\n  sources: []\n"));
    assert!(said.contains("duplicate") && said.contains("sources"), "{said}");
}

#[test]
fn an_empty_file_is_refused() {
    for text in ["", "\n", "# nothing\n", "---\n---\n"] {
        assert_eq!(document::read(text), Err(DocumentError::Empty));
    }
}

#[test]
fn a_file_without_end_is_refused_before_it_is_parsed() {
    let text = "a".repeat(MAX_BYTES + 1);
    assert_eq!(document::read(&text), Err(DocumentError::TooLong { size: MAX_BYTES + 1 }));
}

#[test]
fn what_blows_up_is_refused_quickly() {
    let deep = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let alias = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
    }
    let many = format!("{GOOD}---\n").repeat(300);
    for text in [deep, bomb, many, "{{{".into(), "\u{0}".into(), "a: b: c".into()] {
        assert!(matches!(document::read(&text), Err(DocumentError::Yaml { .. })), "{:.60}", text);
    }
}

//! The README is true: its pool is accepted, its make targets, files and packages exist, and it installs what the cluster tests install.

use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The commands: indented lines outside of fenced blocks, without their comments.
fn commands(readme: &str) -> Vec<Vec<String>> {
    let prose: String = readme.split("```").step_by(2).collect();
    let lines = prose.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| line.split(" # ").next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()).collect()
}

fn yaml_blocks(readme: &str) -> impl Iterator<Item = &str> {
    readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn each_command_names_something_that_exists() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let commands = commands(&readme);
    let served = ["http://127.0.0.1:18081/", "http://127.0.0.1:16080/table", "http://127.0.0.1:16081/metrics"];
    assert!(read("examples/least-connections.yaml").contains("port: 18081"));
    assert!(commands.len() >= 12, "the README's commands aren't found any more: {commands:?}");
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["make", target, ..] => assert!(makefile.contains(&format!("\n{target}:")), "make {target}"),
            ["cargo", "build", "--release", "-p", "evenkeel-e2e", "--bin", "echo"] => {
                assert!(top().join("e2e/src/bin/echo.rs").is_file());
            }
            ["for", .., "&", "done"] => assert!(words.contains(&"target/release/echo") && words.contains(&"serve")),
            ["curl", url] => assert!(served.iter().any(|start| url.starts_with(start)), "{url}"),
            ["cargo", "build", "--release", "-p", package] => {
                let folder = package.trim_start_matches("evenkeel-");
                assert!(read(&format!("{folder}/Cargo.toml")).contains(&format!("name = \"{package}\"")), "{package}");
            }
            ["target/release/evenkeel-sidecar", "run", "--pools", file] => {
                let pools = evenkeel_plan::document::read(&read(file)).expect("the file is a pool");
                assert!(!pools.is_empty(), "{file}");
            }
            ["helm", "install", ..] => {
                let words = words.join(" ");
                assert_eq!(words, "helm install evenkeel charts/evenkeel --namespace evenkeel-system --create-namespace");
                assert!(top().join("charts/evenkeel/Chart.yaml").is_file());
            }
            ["kubectl", "apply", "-n", _, "-f", file] => assert!(top().join(file).is_file(), "{file}"),
            ["kubectl", "label", "namespace", _, "evenkeel.dev/inject=enabled"] | ["kubectl", "get", "bp,bpe", "-n", _] => {}
            _ => panic!("nothing checks `{}` of the README", words.join(" ")),
        }
    }
}

#[test]
fn the_pool_on_top_is_accepted_in_a_cluster() {
    let readme = read("README.md");
    let pool = yaml_blocks(&readme).next().expect("a pool");
    let documents = evenkeel_plan::document::read(pool).expect("it reads");
    let compiled = evenkeel_plan::compile(&documents[0].spec, 1, evenkeel_plan::Mode::Cluster).expect("it is accepted");
    assert_eq!(compiled.warnings, Vec::<String>::new());
}

#[test]
fn every_file_it_points_to_is_there() {
    let readme = read("README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let missing: Vec<&str> = links.filter(|link| !link.starts_with("http") && !top().join(link).exists()).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

//! Every pool of `crds/tests/bad` is refused without an API server, too, with the message that its second line names.
//! Its first line names the API server's, which the cluster tests hold it to.

use evenkeel_plan::{Mode, compile, document};
use std::path::PathBuf;

#[test]
fn every_bad_pool_is_refused_with_its_message() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds/tests/bad");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("the bad pools") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        let expected = text.lines().find_map(|line| line.strip_prefix("# plan: ")).expect("what is expected");
        let said = refusal(&text).unwrap_or_else(|| panic!("{} is accepted", path.display()));
        assert!(said.contains(expected), "{}: `{said}` lacks `{expected}`", path.display());
        assert!(text.contains("# server: "), "{} doesn't name the API server's message", path.display());
        seen += 1;
    }
    assert!(seen >= 10);
}

fn refusal(text: &str) -> Option<String> {
    let mode = if text.contains("static:") { Mode::Embedded } else { Mode::Cluster };
    match document::read(text) {
        Err(error) => Some(error.to_string()),
        Ok(documents) => documents.iter().find_map(|d| compile(&d.spec, 1, mode).err()).map(|rejection| rejection.to_string()),
    }
}

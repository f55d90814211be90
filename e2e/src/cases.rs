//! The cases of `conformance/http1.txt`: bytes and what a proxy must make of them. Knows nothing of any proxy, so that the
//! engine's own tests and the conformance run read the same table.

use std::num::NonZeroUsize;

const TEXT: &str = include_str!("../conformance/http1.txt");
/// Longer than any case needs: a slip in the table must not fill the memory.
const MAX_BYTES: usize = 1 << 20;

/// Which side is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client by its request's head.
    Head,
    /// A client by its request's body.
    Body,
    /// An upstream by its answer.
    Answer,
}

/// What must become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Passes,
    /// It is refused.
    Fails {
        /// The status that the client gets.
        status: u16,
        /// The reason's name.
        fault: String,
    },
    /// The answer had begun and breaks off.
    Cut {
        /// The reason's name; `end` if its connection ended too early.
        fault: String,
    },
}

/// One case; the table's header says what each member means.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which side is judged.
    pub kind: Kind,
    /// What it is about.
    pub rule: String,
    /// No other of its kind has it.
    pub name: String,
    /// What came before: a head for a body, a request for an answer.
    pub after: Vec<u8>,
    /// What is sent.
    pub send: Vec<u8>,
    /// Whether the sender ends its connection then.
    pub ends: bool,
    /// The heads that the other side sees.
    pub sees: Vec<u8>,
    /// The body, without framing.
    pub data: Vec<u8>,
    /// Its trailer lines.
    pub trailers: Vec<u8>,
    /// What must become of it.
    pub verdict: Verdict,
    /// Whether the upstream connection may be used again, where the case says so.
    pub kept: Option<bool>,
}

/// All cases in their order. `local` stands for the address that the client has connected to.
///
/// # Errors
/// The table's first line that isn't understood.
pub fn http1(local: &str) -> Result<Vec<Case>, String> {
    let mut reading = Reading { local, kind: Kind::Head, rule: String::new(), after: Vec::new(), cases: Vec::new() };
    for (at, line) in TEXT.lines().enumerate() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !(line.is_empty() || line.starts_with('#')) {
            reading.line(word, rest).ok_or_else(|| format!("line {}: {line}", at + 1))?;
        }
    }
    Ok(reading.cases)
}

struct Reading<'a> {
    local: &'a str,
    kind: Kind,
    rule: String,
    after: Vec<u8>,
    cases: Vec<Case>,
}

impl Reading<'_> {
    fn line(&mut self, word: &str, rest: &str) -> Option<()> {
        match word {
            "kind" => {
                self.kind = [("head", Kind::Head), ("body", Kind::Body), ("answer", Kind::Answer)]
                    .into_iter()
                    .find_map(|(word, kind)| (word == rest).then_some(kind))?;
                self.after.clear();
            }
            "rule" => rest.clone_into(&mut self.rule),
            "after" => self.after = self.bytes(rest)?,
            "case" => self.begin(rest),
            "send" | "sees" | "data" | "trailers" => {
                let bytes = self.bytes(rest)?;
                let case = self.cases.last_mut()?;
                let member = match word {
                    "send" => &mut case.send,
                    "sees" => &mut case.sees,
                    "data" => &mut case.data,
                    _ => &mut case.trailers,
                };
                member.extend(bytes);
            }
            "ends" => self.cases.last_mut()?.ends = true,
            "fails" => {
                let (status, fault) = rest.split_once(' ')?;
                self.cases.last_mut()?.verdict = Verdict::Fails { status: status.parse().ok()?, fault: fault.into() };
            }
            "cut" => self.cases.last_mut()?.verdict = Verdict::Cut { fault: rest.into() },
            "kept" => self.cases.last_mut()?.kept = Some(matches!(rest, "yes")),
            _ => return None,
        }
        Some(())
    }

    fn begin(&mut self, name: &str) {
        self.cases.push(Case {
            kind: self.kind,
            rule: self.rule.clone(),
            name: name.into(),
            after: self.after.clone(),
            send: Vec::new(),
            ends: false,
            sees: Vec::new(),
            data: Vec::new(),
            trailers: Vec::new(),
            verdict: Verdict::Passes,
            kept: None,
        });
    }

    fn bytes(&self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let rest = self.expand(text, &mut bytes)?;
        rest.is_empty().then_some(bytes)
    }

    /// Appends what `text` means up to its end or to a closing brace; what is left from there.
    fn expand<'a>(&self, mut text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
        while let Some(next) = text.chars().next().filter(|next| *next != '}') {
            text = &text[next.len_utf8()..];
            match next {
                '\\' => text = escape(text, bytes)?,
                '{' => text = self.braces(text, bytes)?.strip_prefix('}')?,
                _ => bytes.extend(next.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        Some(text)
    }

    fn braces<'a>(&self, text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix("local") {
            bytes.extend(self.local.bytes());
            return Some(rest);
        }
        let (times, text) = text.split_once('*')?;
        let times: NonZeroUsize = times.parse().ok()?;
        let mut once = Vec::new();
        let rest = self.expand(text, &mut once)?;
        if once.len().saturating_mul(times.get()) > MAX_BYTES {
            return None;
        }
        bytes.extend(once.repeat(times.get()));
        Some(rest)
    }
}

/// Appends what follows a backslash; what is left.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let (letter, rest) = text.split_at_checked(1)?;
    if letter == "x" {
        let (digits, rest) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        return Some(rest);
    }
    let at = "rnt0\\".find(letter)?;
    bytes.push(b"\r\n\t\0\\"[at]);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_understood_and_each_case_says_what_it_expects() {
        let cases = http1("local:1").expect("a good table");
        let mut names = HashSet::new();
        for case in &cases {
            let of_upstream = case.kind == Kind::Answer;
            assert!(names.insert((case.kind, &case.name)), "{} is there twice", case.name);
            assert!(!case.send.is_empty() && !case.rule.is_empty(), "{}", case.name);
            assert_eq!(case.after.is_empty(), case.kind == Kind::Head, "{}", case.name);
            assert!(of_upstream || case.kept.is_none() && !case.ends, "{}", case.name);
            match &case.verdict {
                Verdict::Passes => assert!(case.kind == Kind::Body || !case.sees.is_empty(), "{}", case.name),
                Verdict::Fails { status, .. } => assert_eq!(*status == 502, of_upstream, "{}", case.name),
                Verdict::Cut { .. } => assert!(of_upstream, "{}", case.name),
            }
        }
    }

    #[test]
    fn bytes_are_read_as_the_table_says() {
        let reading = Reading { local: "l:1", kind: Kind::Head, rule: String::new(), after: vec![], cases: vec![] };
        assert_eq!(reading.bytes(r"a \r\n\t\0\\\xfFé").as_deref(), Some(b"a \r\n\t\0\\\xff\xc3\xa9".as_slice()));
        assert_eq!(reading.bytes("{3*a{2*b}}{local}").as_deref(), Some(b"abbabbabbl:1".as_slice()));
        for bad in [r"\q", r"\x1", "{2*a", "a}", "{0*a}", "{x}", r"\", "{9999999*a}"] {
            assert_eq!(reading.bytes(bad), None, "{bad}");
        }
    }
}

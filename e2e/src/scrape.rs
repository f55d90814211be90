//! Reads metrics as Prometheus does: one GET, the text format, sums over label sets. Blocking; for tests, the demo and the benches.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What one scrape showed.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// The body of a GET; anything but 200 is an error.
pub fn fetch(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.take(64 << 20).read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.into()),
        _ => Err(io::Error::other(format!("GET {path} at {address}: {}", text.lines().next().unwrap_or("no answer")))),
    }
}

/// Scrapes `/metrics`.
pub fn scrape(address: SocketAddr) -> io::Result<Samples> {
    fetch(address, "/metrics").map(|text| Samples::parse(&text))
}

impl Samples {
    /// Reads the text format; lines that are no sample are passed over.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum over all series of this name whose labels include these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The values that a label takes on series of this name, each once, in the text's order.
    pub fn values_of(&self, name: &str, label: &str) -> Vec<String> {
        let mut values = Vec::new();
        for sample in self.matching(name, &[]) {
            for (key, value) in &sample.labels {
                if key == label && !values.contains(value) {
                    values.push(value.clone());
                }
            }
        }
        values
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|(key, value)| sample.labels.iter().any(|(k, v)| k == key && v == value))
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, rest) = match line.find('{') {
        Some(open) => {
            let close = open + line[open..].find("} ")?;
            ((&line[..open], &line[open + 1..close]), &line[close + 2..])
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            ((name, ""), rest)
        }
    };
    Some(Sample { name: series.0.into(), labels: labels(series.1), value: rest.split(' ').next()?.parse().ok()? })
}

// Label values here hold no escaped quotes: they are pool names, addresses and reasons.
fn labels(text: &str) -> Vec<(String, String)> {
    text.split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.into(), value.trim_end_matches('"').into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn series_are_added_up_by_their_labels() {
        let text = "# TYPE a counter\na_total{pool=\"x/y\",endpoint=\"1:2\"} 3\na_total{pool=\"x/y\",endpoint=\"1:3\"} 4 # {} 1\na_total{pool=\"z\",endpoint=\"\"} 5\nb 6\n# EOF\n";
        let samples = Samples::parse(text);
        assert_eq!(samples.sum("a_total", &[("pool", "x/y")]), 7.0);
        assert_eq!(samples.sum("a_total", &[]), 12.0);
        assert_eq!(samples.sum("b", &[]), 6.0);
        assert_eq!(samples.values_of("a_total", "endpoint"), ["1:2", "1:3", ""]);
    }
}

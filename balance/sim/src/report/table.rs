//! Tables, as Markdown and as CSV, and how figures are written.

use std::fmt::Write;

/// A table of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it shows, units included.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Its rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows yet.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self { title: title.into(), columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a row of {:?}", self.title);
        self.rows.push(cells.into());
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("{}\n\n{}|", self.title, line(&self.columns));
        for _ in &self.columns {
            text.push_str("---|");
        }
        text.push('\n');
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        text
    }

    /// As CSV (RFC 4180).
    pub fn csv(&self) -> String {
        let mut text = String::new();
        for cells in std::iter::once(&self.columns).chain(&self.rows) {
            for (number, cell) in cells.iter().enumerate() {
                let comma = if number == 0 { "" } else { "," };
                let quoted = cell.contains([',', '"', '\n']);
                // Writing to a string cannot fail.
                let _ = match quoted {
                    true => write!(text, "{comma}\"{}\"", cell.replace('"', "\"\"")),
                    false => write!(text, "{comma}{cell}"),
                };
            }
            text.push_str("\r\n");
        }
        text
    }
}

/// Three digits that count, thousands in full.
pub fn figure(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if magnitude >= 99.95 {
        format!("{value:.0}")
    } else if magnitude >= 9.995 {
        trimmed(format!("{value:.1}"))
    } else if magnitude >= 0.9995 {
        trimmed(format!("{value:.2}"))
    } else {
        trimmed(format!("{value:.3}"))
    }
}

/// A percentage with two decimals: success rates differ in the second.
pub fn percent(value: f64) -> String {
    format!("{} %", trimmed(format!("{value:.2}")))
}

fn trimmed(text: String) -> String {
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let seen = [0.0, 0.012_34, 0.5, 1.0, 2.345, 12.34, 123.4, 12_345.6, -0.000_01, f64::NAN].map(figure);
        assert_eq!(seen, ["0", "0.012", "0.5", "1", "2.35", "12.3", "123", "12346", "0", "–"]);
        assert_eq!(percent(95.449_9), "95.45 %");
    }

    #[test]
    fn a_table_says_the_same_in_both_forms() {
        let mut table = Table::new("Shares", &["arm", "share, percent"]);
        table.row(["a, \"b\"".to_owned(), "5".to_owned()]);
        assert_eq!(table.csv(), "arm,\"share, percent\"\r\n\"a, \"\"b\"\"\",5\r\n");
        assert_eq!(table.markdown(), "Shares\n\n| arm | share, percent |\n|---|---|\n| a, \"b\" | 5 |\n");
    }
}

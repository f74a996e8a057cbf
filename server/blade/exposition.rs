//! The text format that Prometheus reads (exposition format 0.0.4).

use std::fmt::Write as _;

/// Counters and gauges, one family after the other.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins a family; `kind` is `counter` or `gauge`.
    #[must_use]
    pub fn family(mut self, name: &'static str, kind: &str, help: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.name = name;
        self
    }

    pub fn add(&mut self, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.text, "{}{{{}}} {value}", self.name, labels.join(","));
    }

    /// One line for each value of the label `key`.
    #[must_use]
    pub fn each(mut self, key: &str, values: impl IntoIterator<Item = (String, u64)>) -> Self {
        for (label, value) in values {
            self.add(&[(key, &label)], value);
        }
        self
    }

    pub fn finish(self) -> String {
        self.text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_itself() {
        let text = Exposition::default()
            .family("packets_total", "counter", "Packets.")
            .each("cause", [("a \"quote\", a \\ and\na line".to_owned(), 3)])
            .finish();
        let expected = "# HELP packets_total Packets.\n# TYPE packets_total counter\n\
                        packets_total{cause=\"a \\\"quote\\\", a \\\\ and\\na line\"} 3\n";
        assert_eq!(text, expected);
    }
}

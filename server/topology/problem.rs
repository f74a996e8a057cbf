//! What is wrong, where, and what to do.

use std::fmt;

/// One fault in a topology's files or in a cluster's description. Prints as
/// `file:line:column: E_CODE field: message`; parts that are not known are left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Stable, for programs: `E_QUORUM_EVEN`, `E_HOSTNAME` …
    pub code: &'static str,
    /// Path below `cloud-configs/`.
    pub file: Option<String>,
    /// Counts from 1.
    pub line: Option<u32>,
    /// Counts from 1, in characters.
    pub column: Option<u32>,
    /// What the fault is about: a parameter, a role, `blade r1-c1-b01` …
    pub field: String,
    /// Names the value and what would be right.
    pub message: String,
}

impl Problem {
    pub(super) fn new(
        code: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Problem {
            code,
            file: None,
            line: None,
            column: None,
            field: field.into(),
            message: message.into(),
        }
    }

    pub(super) fn at(mut self, file: &str, line: u64, column: u64) -> Self {
        self.file = Some(file.to_owned());
        self.line = u32::try_from(line).ok().filter(|line| *line > 0);
        self.column = u32::try_from(column).ok().filter(|column| *column > 0);
        self
    }

    /// A fault the YAML reader found, with the place it names.
    pub(super) fn yaml(code: &'static str, file: &str, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        Problem::new(code, "", first_line(&error.to_string())).at(file, line, column)
    }

    /// A fault the TOML reader found; its byte range becomes line and column.
    pub(super) fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Problem::new("E_TOPOLOGY_FILE", "", first_line(error.message())).at(
            file,
            line as u64,
            column as u64,
        )
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, "{number}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(self.code)?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The known name closest to a misspelt one, if it is close (at most a third of its letters).
pub(super) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (distance(wrong, name), name)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// Edits between two words (Damerau-Levenshtein with adjacent swaps): `cdir` is one from `cidr`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(80).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut least =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_a_strange_one_none() {
        let known = ["pod_cidr", "ssh_keys", "etcd_voters"];
        assert_eq!(nearest("pod_cdir", known), Some("pod_cidr"));
        assert_eq!(nearest("sshkeys", known), Some("ssh_keys"));
        assert_eq!(nearest("zzzz", known), None);
        assert_eq!(nearest("", []), None);
    }

    #[test]
    fn a_problem_prints_where_it_is() {
        let problem = Problem::new("E_X", "role worker", "is bad").at("a/topology.toml", 3, 7);
        assert_eq!(problem.to_string(), "a/topology.toml:3:7: E_X role worker: is bad");
        assert_eq!(Problem::new("E_X", "", "is bad").to_string(), "E_X: is bad");
    }
}

//! Fills `{{ expressions }}` in strings that are parsed already, once: what an expression gives
//! is never read for expressions again.

use minijinja::{Environment, UndefinedBehavior, Value, syntax::SyntaxConfig};
use serde_saphyr::Spanned;

use super::{
    Problem,
    neutral::{Neutral, Source},
};

/// The values a document is filled with.
pub(super) struct Filler {
    env: Environment<'static>,
    values: Value,
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    // A misspelt name is an error, never an empty text in a file on a blade's disk.
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // `{#` begins a comment in Jinja, and `${#name}` is a length in every shell script.
    let syntax = SyntaxConfig::builder()
        .comment_delimiters("{%-#", "#-%}")
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    env.set_syntax(syntax.unwrap_or_default());
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env
}

/// Grammar of all expressions of a document, so that a bad one is found when it is saved.
pub(super) fn check_grammar(source: Source<'_>, neutral: &Neutral) -> Result<(), Problem> {
    let env = environment();
    for text in neutral.texts() {
        env.template_from_str(&text.value).map_err(|error| problem(source, text, &error))?;
    }
    for text in neutral.conditions() {
        env.compile_expression(&text.value).map_err(|error| problem(source, text, &error))?;
    }
    Ok(())
}

impl Filler {
    pub fn new(values: Value) -> Self {
        Filler { env: environment(), values }
    }

    /// A text with its expressions filled, that is not from a file of the catalogue.
    pub fn plain(&self, text: &str) -> Result<String, minijinja::Error> {
        self.env.render_str(text, &self.values)
    }

    pub fn text(&self, source: Source<'_>, text: &Spanned<String>) -> Result<String, Problem> {
        self.plain(&text.value).map_err(|error| problem(source, text, &error))
    }

    pub fn maybe(
        &self,
        source: Source<'_>,
        text: Option<&Spanned<String>>,
    ) -> Result<Option<String>, Problem> {
        text.map(|text| self.text(source, text)).transpose()
    }

    /// Whether a condition holds; no condition does.
    pub fn holds(
        &self,
        source: Source<'_>,
        condition: Option<&Spanned<String>>,
    ) -> Result<bool, Problem> {
        let Some(text) = condition else { return Ok(true) };
        let value = self.env.compile_expression(&text.value).and_then(|e| e.eval(&self.values));
        value.map(|value| value.is_true()).map_err(|error| problem(source, text, &error))
    }

    /// Texts of a list; an entry that is a single expression may itself give a list.
    pub fn list(
        &self,
        source: Source<'_>,
        texts: &[Spanned<String>],
    ) -> Result<Vec<String>, Problem> {
        let mut all = Vec::new();
        for text in texts {
            let Some(expression) = single_expression(&text.value) else {
                all.push(self.text(source, text)?);
                continue;
            };
            let value = self.env.compile_expression(expression).and_then(|e| e.eval(&self.values));
            let value = value.map_err(|error| problem(source, text, &error))?;
            match value.kind() {
                minijinja::value::ValueKind::Seq => {
                    all.extend(value.try_iter().into_iter().flatten().map(|v| v.to_string()));
                }
                _ => all.push(self.text(source, text)?),
            }
        }
        Ok(all)
    }
}

fn single_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner.trim())
}

/// A fault within a text, at its line in the file: the line of a block scalar's text is looked
/// for below the place where the scalar begins.
fn problem(source: Source<'_>, text: &Spanned<String>, error: &minijinja::Error) -> Problem {
    let begins = text.referenced.line();
    let wanted = error.line().and_then(|line| text.value.lines().nth(line.saturating_sub(1)));
    let offset = wanted.map(str::trim).filter(|wanted| !wanted.is_empty()).and_then(|wanted| {
        let below = source.text.lines().skip(usize::try_from(begins).ok()?.saturating_sub(1));
        below.into_iter().position(|line| line.contains(wanted))
    });
    let line = begins + offset.unwrap_or(0) as u64;
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => match wanted {
            Some(wanted) => format!("{}: {}", error.kind(), wanted.trim()),
            None => error.kind().to_string(),
        },
    };
    Problem::new("E_EXPRESSION", "", what).at(source.path, line, 0)
}

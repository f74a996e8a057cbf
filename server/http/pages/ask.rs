//! Pages that ask before something is lost, and that say what was not done. Pure.

use askama::Template;

use super::layout::Page;

#[derive(Template)]
#[template(path = "ask.html")]
pub struct AskPage {
    pub page: Page,
    pub wrong: Option<&'static str>,
    /// What is lost, one line for each blade.
    pub loses: String,
    pub lines: Vec<Loss>,
    pub warnings: Vec<&'static str>,
    /// Where the form goes.
    pub action: String,
    pub op: Option<&'static str>,
    /// What a person must type to go on.
    pub type_name: Option<String>,
    pub type_label: String,
    pub button: &'static str,
    pub back: String,
}

pub struct Loss {
    pub blade: String,
    pub text: String,
}

#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemPage {
    pub page: Page,
    pub lines: Vec<String>,
    pub back: String,
}

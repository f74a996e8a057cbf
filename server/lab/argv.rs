//! A command line in the making.

#[derive(Default)]
pub struct Argv(pub Vec<String>);

impl Argv {
    pub fn one(&mut self, word: impl Into<String>) -> &mut Self {
        self.0.push(word.into());
        self
    }

    pub fn two(&mut self, option: &str, value: impl Into<String>) -> &mut Self {
        self.one(option).one(value)
    }
}

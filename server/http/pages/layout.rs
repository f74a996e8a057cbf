//! What all pages have: language, head, navigation.

use super::{
    assets,
    lang::{Lang, Words},
    texts::Texts,
};

/// The frame of a page.
pub struct Page {
    pub t: &'static Texts,
    pub site: String,
    pub title: String,
    /// Name of the navigation's entry that this page belongs to.
    pub nav: &'static str,
    /// Address of the same page in the other language.
    pub other: String,
    /// What is in the search field.
    pub query: String,
    /// The journal's newest line, if this page follows the journal.
    pub live: Option<i64>,
    pub style: String,
    pub script: String,
    pub icon: String,
}

impl Page {
    /// `here` is the page's path, with a query or without.
    pub fn new(words: &Words<'_>, site: &str, nav: &'static str, title: &str, here: &str) -> Page {
        let join = if here.contains('?') { '&' } else { '?' };
        Page {
            t: words.t,
            site: site.to_owned(),
            title: title.to_owned(),
            nav,
            other: format!("{here}{join}lang={}", words.t.lang.other().tag()),
            query: String::new(),
            live: None,
            style: assets::address("style.css"),
            script: assets::address("live.js"),
            icon: assets::address("icon.svg"),
        }
    }

    pub fn following(self, last_event: i64) -> Page {
        Page { live: Some(last_event), ..self }
    }

    pub fn nav(&self) -> [(&'static str, &'static str, &'static str); 5] {
        [
            ("racks", "/", self.t.racks),
            ("clusters", "/clusters", self.t.clusters),
            ("topologies", "/topologies", self.t.topologies),
            ("images", "/images", self.t.images),
            ("events", "/events", self.t.events),
        ]
    }

    /// `lang` attribute of the page.
    pub fn lang(&self) -> &'static str {
        self.t.lang.pick("en", "zh-CN")
    }

    /// `lang` attribute of the link to the other language.
    pub fn other_lang(&self) -> &'static str {
        match self.t.lang.other() {
            Lang::En => "en",
            Lang::Zh => "zh-CN",
        }
    }
}

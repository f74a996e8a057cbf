//! Who looks at a page: language, clock, address; and the answers they get.

use std::convert::Infallible;

use askama::Template;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{Html, IntoResponse, Response},
};
use jiff::tz::TimeZone;

use super::{
    ask::ProblemPage,
    lang::{Lang, Words},
    layout::Page,
    texts::Texts,
};
use crate::http::{App, api::ApiError};

/// A language that was asked for is remembered for a year.
const REMEMBER: &str = "; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly";

pub struct Visitor {
    zone: TimeZone,
    lang: Lang,
    /// The language was in the address just now.
    chose: bool,
    /// Path and query without the language: where the link to the other language leads.
    here: String,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Infallible> {
        let text = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned)
        };
        let asked = parts
            .uri
            .query()
            .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("lang=")));
        let cookies = text(&parts.headers, header::COOKIE);
        let accept = text(&parts.headers, header::ACCEPT_LANGUAGE);
        Ok(Visitor {
            zone: TimeZone::system(),
            lang: Lang::choose(asked, cookies.as_deref(), accept.as_deref()),
            chose: asked.is_some(),
            here: here(&parts.uri),
        })
    }
}

fn here(uri: &Uri) -> String {
    let query = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("lang="));
    let query = query.collect::<Vec<_>>().join("&");
    let path = uri.path();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

impl Visitor {
    pub fn words(&self) -> Words<'_> {
        Words { t: Texts::of(self.lang), zone: &self.zone }
    }

    pub fn page(&self, app: &App, nav: &'static str, title: &str) -> Page {
        Page::new(&self.words(), &app.journal.config().site, nav, title, &self.here)
    }

    pub fn html(&self, status: StatusCode, template: &impl Template) -> Response {
        let html = match template.render() {
            Ok(html) => html,
            Err(error) => {
                tracing::error!("a page cannot be written: {error}");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        let mut response = (status, Html(html)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("cookie, accept-language"));
        if self.chose {
            let cookie = format!("lang={}{REMEMBER}", self.lang.tag());
            headers
                .extend(HeaderValue::from_str(&cookie).map(|cookie| (header::SET_COOKIE, cookie)));
        }
        response
    }

    pub fn ok(&self, template: &impl Template) -> Response {
        self.html(StatusCode::OK, template)
    }

    /// A page that says what was not done and why.
    pub fn problem(&self, app: &App, ApiError(status, text): ApiError, back: &str) -> Response {
        let title = if status == StatusCode::NOT_FOUND {
            self.words().t.missing_page
        } else {
            self.words().t.refused
        };
        let page = self.page(app, "", title);
        let lines = text.lines().map(str::to_owned).collect();
        self.html(status, &ProblemPage { page, lines, back: back.to_owned() })
    }
}

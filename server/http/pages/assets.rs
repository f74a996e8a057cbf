//! Style, script and icon: in the binary, cached for ever under the hash of what they hold.

use std::fmt::Write as _;

use axum::{
    extract::{Path, Query},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

#[derive(rust_embed::RustEmbed)]
#[folder = "web-ui"]
struct Files;

/// Address of a file, with the hash of its content.
pub fn address(name: &str) -> String {
    match Files::get(name) {
        Some(file) => format!("/static/{name}?v={}", version(&file.metadata.sha256_hash())),
        None => format!("/static/{name}"),
    }
}

fn version(hash: &[u8]) -> String {
    hash.iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Deserialize)]
pub struct Asked {
    v: Option<String>,
}

pub async fn serve(
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    // Templates are in the same folder, and no one's business.
    let kind = match name.rsplit_once('.').map(|(_, kind)| kind) {
        Some("css") => Some("text/css; charset=utf-8"),
        Some("js") => Some("text/javascript; charset=utf-8"),
        Some("svg") => Some("image/svg+xml"),
        _ => None,
    };
    let (Some(kind), Some(file)) = (kind, Files::get(&name)) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let version = version(&file.metadata.sha256_hash());
    // An address without the hash, or with that of an older daemon, must be asked for again.
    let cache = if asked.v.as_deref() == Some(version.as_str()) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let tag = format!("\"{version}\"");
    let known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|have| have.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    out.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(name: &str, v: Option<&str>, have: Option<&str>) -> Response {
        let headers =
            have.map(|tag| (header::IF_NONE_MATCH, tag.parse().unwrap())).into_iter().collect();
        serve(Path(name.to_owned()), Query(Asked { v: v.map(str::to_owned) }), headers).await
    }

    #[tokio::test]
    async fn a_file_under_its_hash_is_kept_and_one_without_is_asked_for_again() {
        let address = address("style.css");
        let (_, v) = address.split_once("?v=").unwrap();
        let first = get("style.css", Some(v), None).await;
        assert_eq!(first.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(get("style.css", None, Some(&tag)).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get("style.css", None, None).await.headers()[header::CACHE_CONTROL], "no-cache");
    }

    #[tokio::test]
    async fn templates_and_what_lies_outside_are_not_served() {
        for name in ["racks.html", "../Cargo.toml", "/etc/passwd", ""] {
            assert_eq!(get(name, None, None).await.status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn the_pages_need_nothing_from_elsewhere() {
        for name in Files::iter() {
            let text = String::from_utf8(Files::get(&name).unwrap().data.into_owned()).unwrap();
            assert!(!text.replace("http://www.w3.org/", "").contains("://"), "{name}");
        }
    }
}

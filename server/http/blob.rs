//! Immutable files over HTTP: GET, HEAD, Range, strong validators (RFC 9110).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
};
use bytes::Bytes;

/// Answers a request for `content`, whose strong validator is its SHA-256 in hex.
///
/// One range is served as 206; several as the whole file (RFC 9110 §14.2 allows to ignore
/// Range), so that overlapping ranges cannot multiply the octets sent.
pub fn serve(
    method: &Method,
    headers: &HeaderMap,
    content: &Bytes,
    sha256: &str,
) -> Response<Body> {
    let etag = format!("\"{sha256}\"");
    let size = content.len();
    if matches_etag(headers, &etag) {
        return answer(StatusCode::NOT_MODIFIED, &etag, None, Body::empty());
    }
    let asked = headers.get(header::RANGE).filter(|_| range_applies(headers, &etag));
    match asked.and_then(|value| value.to_str().ok()).map(|text| parse_range(text, size)) {
        None | Some(Asked::Ignore) => {
            let body =
                if method == Method::HEAD { Body::empty() } else { Body::from(content.clone()) };
            answer(StatusCode::OK, &etag, Some((size, None)), body)
        }
        Some(Asked::Unsatisfiable) => {
            let mut response =
                answer(StatusCode::RANGE_NOT_SATISFIABLE, &etag, Some((0, None)), Body::empty());
            insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
            response
        }
        // A HEAD has no range (RFC 9110 §14.2: defined for GET alone).
        Some(Asked::Part(..)) if method == Method::HEAD => {
            answer(StatusCode::OK, &etag, Some((size, None)), Body::empty())
        }
        Some(Asked::Part(first, last)) => {
            let part = content.slice(first..=last);
            let range = format!("bytes {first}-{last}/{size}");
            answer(
                StatusCode::PARTIAL_CONTENT,
                &etag,
                Some((part.len(), Some(range))),
                Body::from(part),
            )
        }
    }
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn answer(
    status: StatusCode,
    etag: &str,
    length: Option<(usize, Option<String>)>,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    insert(headers, header::ETAG, etag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some((length, range)) = length {
        insert(headers, header::CONTENT_LENGTH, &length.to_string());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if let Some(range) = range {
            insert(headers, header::CONTENT_RANGE, &range);
        }
    }
    response
}

fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let Some(value) = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    // Weak comparison for If-None-Match (RFC 9110 §13.1.2).
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    // Strong comparison for If-Range; a date never fits, as we send none (RFC 9110 §13.1.5).
    headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

#[derive(Debug, PartialEq)]
enum Asked {
    /// First and last octet, both inside the file.
    Part(usize, usize),
    Unsatisfiable,
    /// Malformed, of another unit, or several ranges: served whole.
    Ignore,
}

fn parse_range(text: &str, size: usize) -> Asked {
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return Asked::Ignore };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Ignore };
    let number = |text: &str| match text {
        _ if !text.bytes().all(|b| b.is_ascii_digit()) || text.is_empty() => None,
        // Longer than any file: saturate instead of refusing (RFC 9110 §14.1.2).
        _ => Some(text.parse::<usize>().unwrap_or(usize::MAX)),
    };
    match (first, last) {
        ("", suffix) => match number(suffix) {
            None => Asked::Ignore,
            Some(0) => Asked::Unsatisfiable,
            Some(_) if size == 0 => Asked::Unsatisfiable,
            Some(length) => Asked::Part(size.saturating_sub(length), size - 1),
        },
        (first, last) => match (number(first), last.is_empty(), number(last)) {
            (None, ..) | (_, false, None) => Asked::Ignore,
            (Some(first), false, Some(last)) if last < first => Asked::Ignore,
            (Some(first), ..) if first >= size => Asked::Unsatisfiable,
            (Some(first), true, _) => Asked::Part(first, size - 1),
            (Some(first), false, Some(last)) => Asked::Part(first, last.min(size - 1)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc9110_14_1_2_says() {
        for (text, want) in [
            ("bytes=100-299", Asked::Part(100, 299)),
            ("bytes=0-0", Asked::Part(0, 0)),
            ("bytes=900-", Asked::Part(900, 999)),
            ("bytes=-100", Asked::Part(900, 999)),
            ("bytes=-5000", Asked::Part(0, 999)),
            ("bytes=990-99999999999999999999999", Asked::Part(990, 999)),
            ("bytes=1000-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=5-2", Asked::Ignore),
            ("bytes=a-b", Asked::Ignore),
            ("bytes=1-2,5-6", Asked::Ignore),
            ("bytes=--1", Asked::Ignore),
            ("lines=1-2", Asked::Ignore),
            ("bytes=", Asked::Ignore),
        ] {
            assert_eq!(parse_range(text, 1000), want, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Asked::Unsatisfiable);
    }

    #[test]
    fn a_stale_if_range_gives_the_whole_file() {
        let content = Bytes::from_static(b"0123456789");
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(serve(&Method::GET, &headers, &content, "aa").status(), 206);
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"bb\""));
        assert_eq!(serve(&Method::GET, &headers, &content, "aa").status(), 200);
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\", W/\"aa\""));
        assert_eq!(serve(&Method::GET, &headers, &content, "aa").status(), 304);
    }
}

//! Speaks to the daemon's API.

use std::{error::Error, time::Duration};

use clap::Args;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::blade::Hostname;

/// Which daemon is asked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Daemon")]
pub struct Remote {
    /// Where the daemon's API is
    #[arg(long, env = "FIRSTLIGHT_URL", default_value = "http://127.0.0.1:8443")]
    url: String,
    /// Who asks, where the daemon wants to know
    #[arg(long, env = "FIRSTLIGHT_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Remote {
    pub fn new(url: String, token: Option<String>) -> Remote {
        Remote { url, token }
    }
}

/// Why there is no answer; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "the daemon at {url} cannot be reached: {cause}\nIs it running (firstlight serve)? Is the address right (--url, FIRSTLIGHT_URL)?"
    )]
    Unreachable { url: String, cause: String },
    /// The daemon's own words.
    #[error("{0}")]
    Refused(String),
    #[error("{url} answers, but not like Firstlight: {what}; is the address right (--url)?")]
    Stranger { url: String, what: String },
    #[error(
        "--url {0:?} is not supported: it must look like http://127.0.0.1:8443; reach a daemon elsewhere through an SSH tunnel"
    )]
    Address(String),
}

pub type Result<T> = std::result::Result<T, ClientError>;

/// A daemon that can be asked.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// The innermost cause: what a person can act on.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl Client {
    pub fn new(remote: &Remote) -> Result<Client> {
        let base = remote.url.trim_end_matches('/').to_owned();
        let address = || ClientError::Address(base.clone());
        let url = reqwest::Url::parse(&base).map_err(|_| address())?;
        if url.scheme() != "http" || !url.has_host() || url.path() != "/" {
            return Err(address());
        }
        let http = reqwest::Client::builder()
            // A proxy for the web is not on the way to this machine.
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            // Live events are kept alive every 15 s.
            .read_timeout(Duration::from_secs(60))
            // The daemon closes an idle connection after ten seconds; a request sent at that
            // moment would be lost (RFC 9112 §9.3.1).
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| ClientError::Unreachable { url: base.clone(), cause: root(&error) })?;
        Ok(Client { base, token: remote.token.clone(), http })
    }

    /// GET `/api/v1{path}` as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.send(self.http.get(self.address(path))).await?;
        self.json(answer).await
    }

    /// GET `/api/v1{path}` as text.
    pub async fn text(&self, path: &str) -> Result<String> {
        let answer = self.send(self.http.get(self.address(path))).await?;
        answer.text().await.map_err(|error| self.unreachable(&error))
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.send(self.http.post(self.address(path)).json(body)).await?;
        self.json(answer).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        let answer = self.send(self.http.delete(self.address(path))).await?;
        self.json(answer).await
    }

    /// The live journal after line `after`.
    pub async fn follow(&self, after: i64) -> Result<Response> {
        let request = self.http.get(self.address(&format!("/events?after={after}")));
        self.send(request.header("accept", "text/event-stream")).await
    }

    fn address(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    pub fn unreachable(&self, error: &dyn Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), cause: root(error) }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: StatusCode, body: &str) -> ClientError {
        let told: Option<Value> = serde_json::from_str(body).ok();
        match told.as_ref().and_then(|told| told["error"].as_str()) {
            Some(text) => ClientError::Refused(text.to_owned()),
            None => {
                ClientError::Stranger { url: self.base.clone(), what: format!("status {status}") }
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, answer: Response) -> Result<T> {
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Stranger {
            url: self.base.clone(),
            what: error.to_string(),
        })
    }
}

/// A name as part of an address: only what can be a name at all gets there.
pub fn segment(name: &str) -> anyhow::Result<Hostname> {
    Ok(name.parse::<Hostname>()?)
}

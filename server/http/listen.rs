//! Accepts connections and serves a router on them, within limits that hold whatever a client
//! does: unfinished headers, a megabyte of them, or a body that is never read.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderValue, Response, StatusCode, Version, header},
    middleware::{self, Next},
    response::IntoResponse,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Connections of one address: no single client keeps the others out.
const EACH: usize = 256;
/// Time for a request's body and for our answer to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// A client that takes nothing of its answer for so long is gone; a disk that stalls takes less.
const STUCK: Duration = Duration::from_secs(120);
/// Time for a request's headers; a blade sends them in one packet.
const HEADERS: Duration = Duration::from_secs(10);
/// Octets of one request's headers.
const BUFFER: usize = 64 * 1024;

/// Serves until `shutdown`; then finishes what is under way, for at most three seconds.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let router = router.layer(middleware::from_fn(sound_request));
    let limit = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Peers::default();
    let tracker = TaskTracker::new();
    loop {
        let Ok(permit) = limit.clone().acquire_owned().await else { break };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that left at once: neither ends the service.
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Some(seat) = peers.seat(peer.ip()) else {
            tracing::debug!(%peer, "more than {EACH} connections: one more is closed");
            continue;
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        tracker.spawn(async move {
            let _held = (permit, seat);
            connection(stream, peer, router, shutdown).await;
        });
    }
    tracker.close();
    let _ = tokio::time::timeout(Duration::from_secs(3), tracker.wait()).await;
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Seat(Peers, IpAddr);

impl Peers {
    fn seat(&self, ip: IpAddr) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        if *count >= EACH {
            return None;
        }
        *count += 1;
        Some(Seat(self.clone(), ip))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.1) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.1)),
        }
    }
}

async fn connection(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    // tcp(7): also ends a connection whose peer keeps its window shut.
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STUCK));
    let asked: Option<HeaderValue> =
        stream.local_addr().ok().and_then(|address| address.to_string().parse().ok());
    let service =
        hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            // HTTP/1.0 needs no Host; what we tell such a client is for the address it asked on.
            let old = request.version() <= Version::HTTP_10;
            if let (true, Some(asked)) = (old, &asked) {
                request.headers_mut().entry(header::HOST).or_insert_with(|| asked.clone());
            }
            router.clone().call(request.map(Body::new))
        });
    let connection = hyper::server::conn::http1::Builder::new()
        // RFC 9110 §5.1: case does not matter. GRUB 2.12 finds only "Content-Length" (its
        // net/efi/http.c), and takes a file without it as empty.
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, "connection ended: {error}");
    }
}

/// What hyper leaves to us: one Host in HTTP/1.1 (RFC 9112 §3.2).
async fn sound_request(request: Request, next: Next) -> Response<Body> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts != 1 {
        return (StatusCode::BAD_REQUEST, "a request needs one Host header (RFC 9112 §3.2)\n")
            .into_response();
    }
    next.run(request).await
}

/// Ends a request whose body does not come.
pub async fn in_time(request: Request, next: Next) -> Response<Body> {
    let answer = tokio::time::timeout(ANSWER, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let close = [(header::CONNECTION, "close")];
        (StatusCode::REQUEST_TIMEOUT, close, "the request was not finished in time\n")
            .into_response()
    })
}

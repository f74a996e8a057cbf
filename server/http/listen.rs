//! Accepts connections and serves a router on them, within limits that hold whatever a client
//! does: unfinished headers, a megabyte of them, or a body that is never read.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{Response, StatusCode, Version, header},
    middleware::{self, Next},
    response::IntoResponse,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Time for a request's headers; a blade sends them in one packet.
const HEADERS: Duration = Duration::from_secs(10);
/// Octets of one request's headers.
const BUFFER: usize = 64 * 1024;

/// Serves until `shutdown`; then finishes what is under way, for at most three seconds.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let router = router.layer(middleware::from_fn(sound_request));
    let limit = Arc::new(Semaphore::new(CONNECTIONS));
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
        let (router, shutdown) = (router.clone(), shutdown.clone());
        tracker.spawn(async move {
            let _permit = permit;
            connection(stream, peer, router, shutdown).await;
        });
    }
    tracker.close();
    let _ = tokio::time::timeout(Duration::from_secs(3), tracker.wait()).await;
}

async fn connection(
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let service =
        hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request.map(Body::new))
        });
    let connection = hyper::server::conn::http1::Builder::new()
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
    let named = hosts == 1 || (hosts == 0 && request.version() == Version::HTTP_10);
    if !named {
        return (StatusCode::BAD_REQUEST, "a request needs one Host header (RFC 9112 §3.2)\n")
            .into_response();
    }
    next.run(request).await
}

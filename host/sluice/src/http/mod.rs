//! The HTTP side: a page for people, JSON for programs, metrics, health. Reads only, loopback by default.

mod api;
mod listener;
mod money;
mod page;
mod plot;
mod view;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use sluice_core::units::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::{self, Metrics};
use api::{ApiError, Named};
use listener::Bounded;
pub use money::{
    AccountInfo, AccountPayoutInfo, AccountWorkerInfo, BalanceInfo, BalancesInfo, DoneInfo, Forecast,
    MoneyInfo, NextBlock, OwedInfo, PayoutInfo, PolicyName,
};
pub use view::{
    Answer, BlockInfo, ByProtocol, Channels, CreditInfo, DifferenceInfo, JobInfo, PolicyInfo, PoolInfo,
    PoolView, ReloadInfo, ShadowInfo, Shares, StratumV2Info, Tally, Tip, ViewError, WorkerInfo,
};

/// Requests in work at a time; more are refused with 503.
const REQUEST_LIMIT: usize = 32;
/// How long a request may take before it is answered with 504.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in work are waited for at the end.
const DRAIN: Duration = Duration::from_secs(3);

/// Nothing is loaded from anywhere, and no other site may frame or read it.
const CONTENT_SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every handler shares.
struct Shared {
    view: Arc<dyn PoolView>,
    metrics: Arc<Metrics>,
    slots: Semaphore,
}

type App = State<Arc<Shared>>;

/// Serves until `shutdown` is done, then lets requests in work end.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    view: Arc<dyn PoolView>,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let shared = Arc::new(Shared { view, metrics, slots: Semaphore::new(REQUEST_LIMIT) });
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let signal = async move {
        shutdown.await;
        // The receiver may be gone already, when serving failed.
        let _ = stopping.send(());
    };
    let server = axum::serve(Bounded::new(listener), router(shared)).with_graceful_shutdown(signal);
    let deadline = async move {
        let _ = stopped.await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = async { server.await } => result,
        () = deadline => Ok(()),
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/accounts/{account}", get(account_page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .nest("/api/v1", api::routes())
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), bounded))
        .with_state(shared)
}

/// Limits requests in number and time, and adds the headers that every response has.
async fn bounded(State(shared): App, request: Request, next: Next) -> Response {
    let mut response = match shared.slots.try_acquire() {
        Err(_) => ApiError::Busy.into_response(),
        Ok(_slot) => tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
            .await
            .unwrap_or_else(|_| ApiError::Timeout.into_response()),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn page(State(shared): App) -> Html<String> {
    Html(page::Page::gather(&*shared.view, shared.metrics.history(), now()).await.render())
}

async fn account_page(State(shared): App, account: Named) -> Result<Html<String>, ApiError> {
    let account = api::find(&shared, account, page::ACCOUNT_ROWS).await?;
    Ok(Html(page::account(&account, now())))
}

async fn readyz(State(shared): App) -> Response {
    match shared.view.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

async fn scrape(State(shared): App) -> Response {
    shared.view.before_scrape(&shared.metrics);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], shared.metrics.encode()).into_response()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

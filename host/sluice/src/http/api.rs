//! `/api/v1`: lists are arrays, errors are `{"error":{"code","message"}}`.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::money::{AccountInfo, BalancesInfo, MoneyInfo, PayoutInfo};
use super::view::{BlockInfo, CreditInfo, PolicyInfo, PoolInfo, ViewError, WorkerInfo};
use super::{App, Shared};
use crate::metrics::history::Point;

/// Elements of a list where `?limit=` does not say.
const LIMIT: usize = 100;
/// The most that `?limit=` may ask for.
const LIMIT_MAX: usize = 1000;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("there is nothing here; docs/http-api.md lists what there is")]
    NotFound,
    #[error("nobody ever logged in to this account")]
    UnknownAccount,
    #[error("only GET and HEAD are allowed")]
    MethodNotAllowed,
    #[error("the query is wrong; limit=1 to limit={LIMIT_MAX} is allowed")]
    Query,
    #[error("{0}")]
    Unavailable(ViewError),
    #[error("too many requests at a time")]
    Busy,
    #[error("the pool took too long")]
    Timeout,
}

impl ApiError {
    const fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::UnknownAccount => (StatusCode::NOT_FOUND, "unknown_account"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Query => (StatusCode::BAD_REQUEST, "bad_query"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        }
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        Self::Unavailable(error)
    }
}

/// A name that is not UTF-8 is nobody's.
impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::UnknownAccount
    }
}

impl From<QueryRejection> for ApiError {
    fn from(_: QueryRejection) -> Self {
        Self::Query
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let body = serde_json::json!({"error": {"code": code, "message": self.to_string()}});
        (status, Json(body)).into_response()
    }
}

/// `?limit=N`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<usize>,
}

impl Limit {
    fn get(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT);
        if (1..=LIMIT_MAX).contains(&limit) { Ok(limit) } else { Err(ApiError::Query) }
    }
}

/// A name from the path, decoded.
pub(super) type Named = Result<Path<String>, PathRejection>;
type Limited = Result<Query<Limit>, QueryRejection>;
type Reply<T> = Result<Json<T>, ApiError>;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/pool", get(pool))
        .route("/policies", get(policies))
        .route("/workers", get(workers))
        .route("/blocks", get(blocks))
        .route("/credits", get(credits))
        .route("/money", get(money))
        .route("/balances", get(balances))
        .route("/payouts", get(payouts))
        .route("/accounts/{account}", get(account))
        .route("/history", get(history))
}

async fn pool(State(shared): App) -> Json<PoolInfo> {
    Json(shared.view.pool())
}

async fn policies(State(shared): App) -> Reply<Vec<PolicyInfo>> {
    Ok(Json(shared.view.policies().await?))
}

async fn workers(State(shared): App, query: Limited) -> Reply<Vec<WorkerInfo>> {
    Ok(Json(shared.view.workers(query?.get()?).await?))
}

async fn blocks(State(shared): App, query: Limited) -> Reply<Vec<BlockInfo>> {
    Ok(Json(shared.view.blocks(query?.get()?).await?))
}

async fn credits(State(shared): App, query: Limited) -> Reply<Vec<CreditInfo>> {
    Ok(Json(shared.view.credits(query?.get()?).await?))
}

async fn money(State(shared): App) -> Reply<MoneyInfo> {
    Ok(Json(shared.view.money().await?))
}

async fn balances(State(shared): App, query: Limited) -> Reply<BalancesInfo> {
    Ok(Json(shared.view.balances(query?.get()?).await?))
}

async fn payouts(State(shared): App, query: Limited) -> Reply<Vec<PayoutInfo>> {
    Ok(Json(shared.view.payouts(query?.get()?).await?))
}

async fn account(State(shared): App, account: Named, query: Limited) -> Reply<AccountInfo> {
    let limit = query?.get()?;
    Ok(Json(find(&shared, account, limit).await?))
}

/// The account that a path names.
pub(super) async fn find(shared: &Shared, account: Named, limit: usize) -> Result<AccountInfo, ApiError> {
    let Path(account) = account?;
    shared.view.account(account, limit).await?.ok_or(ApiError::UnknownAccount)
}

#[derive(Serialize)]
struct History {
    step_s: u64,
    points: Vec<Point>,
}

async fn history(State(shared): App) -> Json<History> {
    let step_s = crate::metrics::history::STEP.as_secs();
    Json(History { step_s, points: shared.metrics.history().points() })
}

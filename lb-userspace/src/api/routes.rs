//! What may be asked of the control socket, and how it is answered.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::server::{Answer, Request};
use super::types::{MAX_TOP, MAX_TOP_S, Refused, TopOf};

/// How large the JSON of a request may be, in bytes: a configuration, of which every byte may need six as JSON.
const MAX_BODY_BYTES: usize = 6 * (16 << 20) + (1 << 20);

/// Turns what comes in over HTTP into requests.
pub(super) fn router(requests: mpsc::Sender<Request>) -> Router {
    Router::new()
        .route("/v1/status", get(|State(to): State<_>| ask(to, Request::Status)))
        .route("/v1/services", get(|State(to): State<_>| ask(to, Request::Services)))
        .route("/v1/backends", get(backends))
        .route("/v1/limits", get(limits))
        .route("/v1/limits/top", get(top))
        .route("/v1/limits/set", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::SetLimit)))
        .route("/v1/limits/unset", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::UnsetLimits)))
        .route("/v1/ledger", get(|State(to): State<_>| ask(to, Request::Ledger)))
        .route("/v1/drains", get(|State(to): State<_>, query: Asked<_>| ask_about(to, query, Request::Drains)))
        .route("/v1/drain", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::Drain)))
        .route("/v1/undrain", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::Undrain)))
        .route("/v1/weight", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::Weight)))
        .route("/v1/plan", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::Plan)))
        .route("/v1/reload", post(|State(to): State<_>, body: Told<_>| tell(to, body, Request::Reload)))
        .route("/v1/detach", post(|State(to): State<_>| ask(to, Request::Detach)))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(requests)
}

/// What stands behind the `?` of a question, if it can be understood.
type Asked<T> = Result<Query<T>, QueryRejection>;
/// What a request brings as JSON, if it can be understood.
type Told<T> = Result<Json<T>, JsonRejection>;

/// `?service=NAME`.
#[derive(Debug, Deserialize)]
struct Service {
    service: Option<String>,
}

async fn backends(State(to): State<mpsc::Sender<Request>>, query: Asked<Service>) -> Response {
    ask_about(to, query, |asked, answer| Request::Backends(asked.service, answer)).await
}

async fn limits(State(to): State<mpsc::Sender<Request>>, query: Asked<Service>) -> Response {
    ask_about(to, query, |asked, answer| Request::Limits(asked.service, answer)).await
}

/// One question of this kind at a time: readings are large.
static TOP: Semaphore = Semaphore::const_new(1);

async fn top(State(to): State<mpsc::Sender<Request>>, query: Asked<TopOf>) -> Response {
    let of = match query {
        Ok(Query(of)) => of,
        Err(error) => return refused(error.status(), error.body_text()),
    };
    if !(1..=MAX_TOP_S).contains(&of.seconds) || !(1..=MAX_TOP).contains(&of.count) {
        let found = format!("found {} seconds and a count of {}", of.seconds, of.count);
        let error = format!("{found}, expected 1 to {MAX_TOP_S} seconds and a count of 1 to {MAX_TOP}");
        return refused(StatusCode::BAD_REQUEST, error);
    }
    let _turn = TOP.acquire().await;
    let before = match asked(&to, |answer| Request::Buckets(of.service.clone(), answer)).await {
        Ok(reading) => reading,
        Err(response) => return response,
    };
    tokio::time::sleep(Duration::from_secs(of.seconds)).await;
    let after = match asked(&to, |answer| Request::Buckets(of.service, answer)).await {
        Ok(reading) => reading,
        Err(response) => return response,
    };
    match tokio::task::spawn_blocking(move || after.since(before, of.count)).await {
        Ok(rows) => Json(rows).into_response(),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn ask_about<A, T: serde::Serialize>(
    to: mpsc::Sender<Request>,
    query: Asked<A>,
    request: impl FnOnce(A, Answer<T>) -> Request,
) -> Response {
    match query {
        Ok(Query(asked)) => ask(to, |answer| request(asked, answer)).await,
        Err(error) => refused(error.status(), error.body_text()),
    }
}

async fn tell<A, T: serde::Serialize>(
    to: mpsc::Sender<Request>,
    body: Told<A>,
    request: impl FnOnce(A, Answer<T>) -> Request,
) -> Response {
    match body {
        Ok(Json(told)) => ask(to, |answer| request(told, answer)).await,
        Err(error) => refused(error.status(), error.body_text()),
    }
}

async fn ask<T: serde::Serialize>(to: mpsc::Sender<Request>, request: impl FnOnce(Answer<T>) -> Request) -> Response {
    match asked(&to, request).await {
        Ok(said) => Json(said).into_response(),
        Err(response) => response,
    }
}

/// What the controller answers, or what is answered in its place.
async fn asked<T>(to: &mpsc::Sender<Request>, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Response> {
    let (answer, answered) = oneshot::channel();
    let ends = || refused(StatusCode::SERVICE_UNAVAILABLE, "Weir is ending".to_owned());
    to.send(request(answer)).await.map_err(|_| ends())?;
    match answered.await {
        Ok(said) => said.map_err(|error| refused(StatusCode::BAD_REQUEST, error)),
        Err(_) => Err(ends()),
    }
}

fn refused(code: StatusCode, error: String) -> Response {
    (code, Json(Refused { error })).into_response()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::client::Client;
    use crate::api::server::ControlSocket;
    use crate::api::types::{DrainsOf, LimitRow, PlanFile, PlanQuestion, PlanReport};

    /// Asks a control socket; `reply` is the controller.
    async fn asked<T>(reply: impl Fn(Request) + Send + 'static, ask: impl AsyncFnOnce(Client) -> T) -> T {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("weir.sock");
        let (mut requests, serving) = ControlSocket::bind(&path).expect("bound").serve(std::future::pending());
        tokio::spawn(serving);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                reply(request);
            }
        });
        ask(Client::new(Path::new(&path)).expect("a client")).await
    }

    fn nobody(request: Request) {
        panic!("{request:?}");
    }

    #[tokio::test]
    async fn orders_come_as_they_were_sent_and_answers_too() {
        let reply = |request| match request {
            Request::Drains(DrainsOf { backend, service }, answer) => {
                assert_eq!((backend.as_deref(), service), (Some("[2001:db8::1]:80"), None));
                drop(answer.send(Ok(Vec::new())));
            }
            Request::Plan(PlanQuestion { config: Some(config), .. }, answer) => {
                // More than axum takes unless told otherwise.
                assert_eq!(config.text.len(), 3 << 20);
                drop(answer.send(Ok(PlanReport { moved_ppm: 7, ..PlanReport::default() })));
            }
            Request::Reload(order, answer) => {
                drop(answer.send(Err(format!("{:?} is too much", order.max_moved_ppm))));
            }
            Request::Limits(service, answer) => {
                let service = service.unwrap_or_default();
                drop(answer.send(Err(format!("there is no service {service:?}"))));
            }
            other => panic!("{other:?}"),
        };
        asked(reply, async |client| {
            let unknown = client.get::<Vec<LimitRow>>("limits", &[("service", "wbe")]).await;
            assert_eq!(unknown.expect_err("refused").to_string(), "there is no service \"wbe\"");
            let rows: Value = client.get("drains", &[("backend", "[2001:db8::1]:80")]).await.expect("rows");
            assert_eq!(rows, json!([]));
            let config = PlanFile { path: "/etc/weir/weir.toml".into(), text: "\n".repeat(3 << 20) };
            let question = PlanQuestion { config: Some(config), ..PlanQuestion::default() };
            let report: PlanReport = client.post("plan", &question).await.expect("a report");
            assert_eq!(report.moved_ppm, 7);
            let refused = client.post::<PlanReport>("reload", &json!({"max_moved_ppm": 20_000})).await;
            assert_eq!(refused.expect_err("refused").to_string(), "Some(20000) is too much");
        })
        .await;
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_refused_with_the_reason() {
        asked(nobody, async |client| {
            for (path, body, reason) in [
                ("drain", json!({}), "missing field `backend`"),
                ("drain", json!({"backend": "b1", "then": "explode"}), "expected `remove` or `reset`"),
                ("weight", json!({"backend": "b1"}), "missing field `weight`"),
                ("weight", json!({"backend": "b1", "weight": -1}), "expected u16"),
                ("plan", json!({"backends": [{"service": "web"}]}), "missing field `address`"),
                ("reload", json!({"max_moved_ppm": "2%"}), "expected u32"),
            ] {
                let refused = client.post::<Value>(path, &body).await.expect_err("refused").to_string();
                assert!(refused.contains(reason), "{path} {body}: {refused}");
            }
        })
        .await;
    }
}

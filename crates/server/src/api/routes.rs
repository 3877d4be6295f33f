//! Which path leads where, and what holds for every request.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::ApiError;
use super::{
    Central, accounts, alarms, auth, deployments, devicegroups, devices, enrolment_tokens, fleet, health, key_releases,
    libraries, logs, logstream, products, refresh_tokens, release_log, releases, rollouts, self_tests, status,
};

pub(super) fn router(central: &Central) -> Router {
    let auth = Router::new()
        .route("/auth", post(auth::log_in))
        .route("/auth/token", post(auth::refresh))
        .method_not_allowed_fallback(async || ApiError::no_such_method())
        .layer(DefaultBodyLimit::max(central.limits.auth_body_bytes))
        .layer(from_fn_with_state(central.clone(), bounded_auth));
    // It takes as long as a release is large; a client that pauses is given up.
    let upload = Router::new()
        .route("/releases/bundle", post(releases::upload))
        .method_not_allowed_fallback(async || ApiError::no_such_method())
        .layer(DefaultBodyLimit::disable());
    let v5 = Router::new()
        .route("/accounts", get(accounts::list))
        .route("/accounts/{id}", get(accounts::one))
        .route("/accounts/me/refresh_tokens", get(refresh_tokens::list))
        .route("/accounts/me/refresh_tokens/{id}", delete(refresh_tokens::remove))
        .route("/products", get(products::list).post(products::create))
        .route("/products/{id}", get(products::one).patch(products::update).delete(products::remove))
        .route("/devicegroups", get(devicegroups::list).post(devicegroups::create))
        .route("/devicegroups/{id}", get(devicegroups::one).patch(devicegroups::update).delete(devicegroups::remove))
        .route("/devicegroups/{id}/restart", post(devicegroups::restart))
        .route("/devicegroups/{id}/conditional_restart", post(devicegroups::conditional_restart))
        .route("/devicegroups/{id}/relationships/devices", post(devicegroups::assign).delete(devicegroups::unassign))
        .route("/devicegroups/{id}/relationships/min_supported_deployment", put(devicegroups::set_min_supported))
        .route("/devices", get(devices::list))
        .route("/devices/{id}", get(devices::one).patch(devices::update).delete(devices::remove))
        .route("/devices/{id}/restart", post(devices::restart))
        .route("/devices/{id}/conditional_restart", post(devices::conditional_restart))
        .route("/devices/{id}/revoke", post(devices::revoke))
        .route("/devices/{id}/accept_older_vault", post(devices::accept_older_vault))
        .route("/devices/{id}/alarms", delete(devices::dismiss_alarms))
        .route("/devices/{id}/self_test", get(self_tests::last))
        .route("/devices/{id}/key_releases", get(key_releases::list))
        .route("/devices/{id}/logs", get(logs::history))
        .route("/devices/{id}/diary", get(logs::diary))
        .route("/deployments", get(deployments::list).post(deployments::create))
        .route("/deployments/{id}", get(deployments::one).patch(deployments::update).delete(deployments::remove))
        .route("/enrolment_tokens", get(enrolment_tokens::list).post(enrolment_tokens::create))
        .route("/enrolment_tokens/{id}", get(enrolment_tokens::one).delete(enrolment_tokens::remove))
        .route("/libraries", get(libraries::list).post(libraries::create))
        .route("/releases", get(releases::list))
        .route("/releases/{id}", get(releases::one))
        .route("/releases/{id}/align", post(releases::align))
        .route("/rollouts", get(rollouts::list).post(rollouts::create))
        .route("/rollouts/{id}", get(rollouts::one))
        .route("/rollouts/{id}/devices", get(rollouts::devices))
        .route("/rollouts/{id}/pause", post(rollouts::pause))
        .route("/rollouts/{id}/resume", post(rollouts::resume))
        .route("/rollouts/{id}/advance", post(rollouts::advance))
        .route("/rollouts/{id}/abort", post(rollouts::abort))
        .route("/fleet/skew", get(fleet::skew))
        .route("/alarms", get(alarms::list))
        .route("/status", get(status::status))
        .route("/logstream", post(logstream::open))
        .route("/logstream/{id}", get(logstream::read))
        .route("/logstream/{id}/{device}", put(logstream::subscribe).delete(logstream::unsubscribe))
        .fallback(async || ApiError::no_such_path())
        .method_not_allowed_fallback(async || ApiError::no_such_method())
        .layer(DefaultBodyLimit::max(central.limits.body_bytes))
        .layer(from_fn_with_state(central.clone(), bounded))
        .merge(auth)
        .merge(upload)
        .layer(from_fn(harden));
    let log = Router::new()
        .route("/checkpoint", get(release_log::checkpoint))
        .route("/tile/{*path}", get(release_log::tile))
        .layer(from_fn(no_sniff));
    Router::new().nest("/v5", v5).nest("/log", log).route("/health", get(health::health)).with_state(central.clone())
}

/// Removes repeated slashes from a path of the API, as a base address with a slash at its end makes them. Agents' paths stay as they are.
pub(crate) fn collapse_slashes(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains("//") || !path.trim_start_matches('/').starts_with("v5") {
        return None;
    }
    let mut kept = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !kept.ends_with('/') {
            kept.push(letter);
        }
    }
    if let Some(query) = uri.query() {
        kept.push('?');
        kept.push_str(query);
    }
    kept.parse().ok()
}

/// Bounds how many requests are worked on and how long one takes until its answer begins.
async fn bounded(State(central): State<Central>, request: Request, next: Next) -> Response {
    within(&central.requests, &central, request, next).await
}

/// The same for who has no token yet: all others show theirs before their body is read, so only these can be slow and unknown.
async fn bounded_auth(State(central): State<Central>, request: Request, next: Next) -> Response {
    within(&central.auth_requests, &central, request, next).await
}

async fn within(places: &Semaphore, central: &Central, request: Request, next: Next) -> Response {
    let Ok(_permit) = places.try_acquire() else {
        return ApiError::too_many("The server has more requests than it can work on; try again.").into_response();
    };
    match timeout(central.limits.request_deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::too_slow().into_response(),
    }
}

/// What is public may be kept, but its type is not to be guessed.
async fn no_sniff(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Answers are for programs: no browser may guess their type, frame them, keep them or run anything in them.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_collapse_in_the_api_only() {
        let collapsed = |text: &str| collapse_slashes(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(collapsed("/v5//auth").as_deref(), Some("/v5/auth"));
        assert_eq!(collapsed("//v5///devices//x?a=//b").as_deref(), Some("/v5/devices/x?a=//b"));
        assert_eq!(collapsed("/v5/auth"), None);
        assert_eq!(collapsed("/agent/abc//path"), None);
    }
}

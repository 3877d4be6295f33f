//! What a client is told when something is refused.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::document::MEDIA_TYPE;
use crate::fleet::{Invalid, Rule};
use crate::store::{ChangeError, StoreError};

/// A refusal, as the body of an answer.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    meta: Vec<CompileProblem>,
}

/// One error in a source.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CompileProblem {
    /// `device_code` or `agent_code`.
    pub(super) file: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// From 1.
    pub(super) row: u32,
    /// From 1.
    pub(super) column: u32,
    pub(super) text: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, entries: vec![Entry { status, code, title, detail: detail.into(), meta: Vec::new() }] }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "VX001", "Invalid Request", detail)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NF001", "Not Found", format!("There is no such {what}."))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NF002", "Not Found", "The API has no such path.")
    }

    pub(super) fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "NF003", "Method Not Allowed", "The path does not take this method.")
    }

    pub(super) fn bad_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "PX100", "Invalid Credentials", "The user name or the password is wrong.")
    }

    pub(super) fn no_token() -> Self {
        let detail = "The request needs a valid access token; log in or renew the token.";
        Self::new(StatusCode::UNAUTHORIZED, "PX101", "Unauthorized", detail)
    }

    pub(super) fn no_refresh_token() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NF001", "Not Found", "There is no such refresh token; log in again.")
    }

    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "PX300", "Too Many Requests", detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "VX002", "Request Too Large", detail)
    }

    pub(super) fn release_refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VX003", "Release Refused", detail)
    }

    pub(super) fn app_refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VX004", "App Not Approved", detail)
    }

    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "XX001", "Timeout", "The request took too long; try again.")
    }

    pub(super) fn not_compiled(problems: Vec<CompileProblem>) -> Self {
        let detail = match problems.as_slice() {
            [one] => format!("{} line {}, column {}: {}", one.file, one.row, one.column, one.text),
            many => format!("{} errors; see meta.", many.len()),
        };
        let status = StatusCode::BAD_REQUEST;
        Self {
            status,
            entries: vec![Entry { status, code: "CX005", title: "Compilation Error", detail, meta: problems }],
        }
    }

    /// The steps of one request that failed while others may have succeeded: answered with 400, each error with the status of its own.
    pub(super) fn partly(errors: Vec<ApiError>) -> Self {
        let entries = errors.into_iter().flat_map(|error| error.entries).collect();
        Self { status: StatusCode::BAD_REQUEST, entries }
    }

    /// An error of the server's own. The client gets an id that the log has, too.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        let mut causes = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            causes.push_str(": ");
            causes.push_str(&inner.to_string());
            cause = inner.source();
        }
        tracing::error!(error = causes, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "XX002",
            "Internal Error",
            "The server could not do this; its log says why.",
        )
    }
}

impl From<Invalid> for ApiError {
    fn from(error: Invalid) -> Self {
        Self::invalid(error.0)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound(what) => Self::not_found(what),
            ChangeError::Invalid(invalid) => invalid.into(),
            ChangeError::Rule(rule) => rule.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<Rule> for ApiError {
    fn from(rule: Rule) -> Self {
        let (status, code, title) = match rule {
            Rule::ProductNameTaken
            | Rule::GroupNameTaken
            | Rule::AccountNameTaken
            | Rule::LibraryVersionTaken
            | Rule::ReleaseVersionTaken => (409, "CX001", "Duplicate Resource"),
            Rule::ProductHasGroups => (409, "CX002", "Dependent Devicegroups Exist"),
            Rule::GroupHasDevices => (409, "CX003", "Dependent Devices Exist"),
            Rule::GroupHasFlagged | Rule::DeploymentFlagged => (409, "CX004", "Resource Flagged"),
            Rule::DeploymentSupported => (409, "CX006", "Deployment In Use"),
            Rule::MinimumOfOtherGroup | Rule::MinimumOlder => (400, "CX007", "Invalid Minimum Supported Deployment"),
            Rule::OtherOwner => (409, "CX008", "Owner Mismatch"),
            Rule::DeviceAssigned => (409, "CX009", "Device Assigned"),
            Rule::DeviceNotAssigned => (404, "NF004", "Device Not Assigned"),
            Rule::AttestationTooLow => (409, "CX014", "Attestation Too Low"),
            Rule::DeviceRevoked => (409, "CX010", "Device Revoked"),
            Rule::ReleaseNotApproved(_) => (409, "CX015", "Release Not Approved"),
            Rule::ReleaseFitsNobody => (409, "CX011", "Release Fits No Device"),
            Rule::RolloutNotRunning | Rule::RolloutLastPhase | Rule::RolloutNotHeld | Rule::RolloutOver => {
                (409, "CX012", "Rollout State")
            }
        };
        Self::new(StatusCode::from_u16(status).unwrap_or(StatusCode::CONFLICT), code, title, rule.to_string())
    }
}

#[derive(Serialize)]
struct Body {
    errors: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    status: String,
    code: &'static str,
    title: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    meta: Vec<CompileProblem>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let shown = |entry: Entry| Shown {
            id: Uuid::new_v4().to_string(),
            status: entry.status.as_str().to_owned(),
            code: entry.code,
            title: entry.title,
            detail: entry.detail,
            meta: entry.meta,
        };
        let body = Body { errors: self.entries.into_iter().map(shown).collect() };
        // Strings and numbers always serialise.
        let text = serde_json::to_string(&body).unwrap_or_else(|_| r#"{"errors":[]}"#.to_owned());
        (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response()
    }
}

//! Central's API: JSON over HTTP in the wire format of the impCentral API v5, and our own resources in the same style.
//!
//! Start at [`Central`]. One file per resource, of the same name as in `fleet/` and `store/`. Every route but `/v5/auth`, `/v5/auth/token`,
//! the reading of a log stream (whose id is the capability) and `/health` needs a bearer token.

mod accounts;
mod alarms;
mod auth;
mod central;
mod deployments;
mod devicegroups;
mod devices;
mod document;
mod enrolment_tokens;
mod error;
mod fleet;
mod health;
mod key_releases;
mod libraries;
pub mod listener;
mod log_filter;
mod login_door;
mod logs;
mod logstream;
mod orders;
mod products;
mod query;
mod refresh_tokens;
mod release_log;
mod releases;
mod request;
mod rollouts;
mod routes;
mod self_tests;
mod status;

pub use central::Central;
pub use document::MEDIA_TYPE;

//! What a fleet consists of and the rules about it; no HTTP, no SQL, no sockets.
//!
//! One file per resource; files of the same name in `store/` keep it and in `api/` show it.

pub mod account;
pub mod agent;
pub mod deployment;
pub mod device;
pub mod devicegroup;
pub mod enrolment_token;
pub mod env_vars;
pub mod ids;
pub mod library;
pub mod log;
pub mod product;
pub mod proof;
pub mod release;
pub mod rollout;
pub mod rules;
mod text;
pub mod token;

pub use account::{Account, AccountName};
pub use agent::{AgentId, AgentIdSecret, AgentUrls};
pub use deployment::{AppRef, Deployment, DeploymentNotes, DeploymentSha, NewDeployment};
pub use device::{AgentStart, Assignment, Device, DeviceLogin, NewDevice};
pub use devicegroup::{DeviceGroup, GroupType};
pub use enrolment_token::{EnrolmentToken, RedeemRefused};
pub use env_vars::{EnvVar, EnvVars};
pub use ids::{AccountId, DeploymentId, GroupId, ProductId, RefreshTokenId, ReleaseId, RolloutId, StreamId, TokenId};
pub use library::Library;
pub use log::{DiaryReport, LogEntry, LogType};
pub use product::Product;
pub use proof::{Alarm, AlarmKind, Demand, Proved};
pub use release::{NewRelease, NewReleaseImage, OsUpdate, Release, ReleaseImage};
pub use rollout::{DeviceStep, Phases, Rollout, RolloutDevice, RolloutState, Skew};
pub use rules::Rule;
pub use text::Invalid;
pub use token::{Caller, RefreshToken};

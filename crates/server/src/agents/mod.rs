//! The agents, one per device, and their URLs. Start at [`Agents`].
//!
//! - [`supervisor`]: which agents run: those of enrolled devices whose group has a deployment.
//! - [`agent`]: one device's agent over all its restarts.
//! - [`life`]: one run of an agent app: inputs from the bus, outputs to bus, store and waiting requests.
//! - [`code`]: linked programs, one for each deployment, shared by its agents.
//! - [`url`]: the HTTP edge, `/agent/{agent_id}/...`.
//! - [`outbound`]: requests that agents make; [`address`]: where they may go.
//! - [`limits`], [`clock`]: what their names say.
//!
//! Agents run on threads of their own, so that no amount of script work keeps a session or a request of central waiting. Each agent is
//! one task that is woken by its inbox and its next timer and by nothing else; after each slice it goes to the end of the line.

mod address;
mod agent;
mod clock;
mod code;
mod life;
pub mod limits;
mod outbound;
pub mod supervisor;
pub mod url;

pub use limits::AgentLimits;
pub use supervisor::{Agents, AgentsError};
pub use url::router;

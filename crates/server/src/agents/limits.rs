//! What agents may use.

use std::time::Duration;

/// Every bound of the agents, but for those of the queues, which are the bus's.
#[derive(Clone, Debug)]
pub struct AgentLimits {
    /// What one agent app may use.
    pub app: apphost::Limits,
    /// Threads that run agents.
    pub workers: usize,
    /// Agents that read their program and state from the store at one time.
    pub starting: usize,
    /// Devices asked for at one time while all agents are started.
    pub page: u32,
    /// Longest wait of `device.send` for room in the device's session.
    pub send_wait: Duration,
    /// Log lines of one agent in a second; it waits beyond, so that it does not fill the queue of all.
    pub log_lines_per_second: u32,
    /// Wait before an agent runs again whose task was ended by a fault of the server's own.
    pub panic_wait: Duration,
    /// Longest wait for everything to end.
    pub shutdown: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Longest wait for a request's body.
    pub body_deadline: Duration,
    /// Longest wait for an agent's answer.
    pub response_deadline: Duration,
    /// Lets agents make requests to loopback, link-local and private addresses, and with that into the operator's own network.
    pub danger_private_addresses: bool,
    /// Requests that all agents make at one time; more wait.
    pub outgoing: usize,
    /// Longest wait for the whole answer to a request of an agent's.
    pub outgoing_deadline: Duration,
    /// Longest wait for a connection to one address.
    pub outgoing_connect: Duration,
    /// Addresses of a name that are tried.
    pub outgoing_addresses: usize,
    /// Bytes of the head of an answer.
    pub outgoing_head_bytes: usize,
    /// Requests to one agent at one time; more are told to come back.
    pub requests_per_agent: usize,
    /// Requests to all agents at one time; more are told to come back.
    pub requests: usize,
}

impl Default for AgentLimits {
    /// Suits one machine.
    fn default() -> Self {
        Self {
            app: apphost::Limits::agent(),
            workers: 2,
            starting: 16,
            page: 500,
            send_wait: Duration::from_secs(30),
            log_lines_per_second: 100,
            panic_wait: Duration::from_secs(60),
            shutdown: Duration::from_secs(5),
            body_bytes: 1024 * 1024,
            body_deadline: Duration::from_secs(15),
            response_deadline: Duration::from_secs(30),
            danger_private_addresses: false,
            outgoing: 256,
            outgoing_deadline: Duration::from_secs(600),
            outgoing_connect: Duration::from_secs(10),
            outgoing_addresses: 4,
            outgoing_head_bytes: 64 * 1024,
            requests_per_agent: 64,
            requests: 1_024,
        }
    }
}

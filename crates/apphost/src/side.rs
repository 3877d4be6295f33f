//! Which end an app runs on, what it is told about its surroundings, and why it was started.

use crate::board::Board;

/// The two ends; decides which objects a script sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The device: `agent`, `hardware`, `imp`, `server`.
    Device,
    /// The server: `device`, `http`, `imp`, `server`.
    Agent,
}

/// The end an app runs on, with what it can ask there.
#[derive(Debug)]
pub enum Side {
    /// On the device.
    Device(DeviceInfo),
    /// On the server.
    Agent(AgentInfo),
}

impl Side {
    pub(crate) const fn end(&self) -> End {
        match self {
            Self::Device(_) => End::Device,
            Self::Agent(_) => End::Agent,
        }
    }

    pub(crate) const fn connected(&self) -> bool {
        match self {
            Self::Device(device) => device.connected,
            Self::Agent(agent) => agent.connected,
        }
    }
}

/// What a device app can ask about its device.
#[derive(Debug)]
pub struct DeviceInfo {
    /// 16 hex digits, `hardware.getdeviceid()`.
    pub device_id: String,
    /// `imp.getsoftwareversion()`.
    pub software_version: String,
    /// Whether a session is open at the start; later told by [`crate::Input::Connected`].
    pub connected: bool,
    /// What the app last gave to [`crate::Output::SaveUserConfiguration`], if that was not empty.
    pub user_configuration: Option<Vec<u8>>,
    /// What the app kept in `nv` when it went to sleep ([`crate::Sleep::nv`]).
    pub nv: Option<Vec<u8>>,
    /// The board the app sees; it outlives the app.
    pub board: Box<dyn Board>,
}

/// What an agent app can ask about its surroundings.
#[derive(Clone, Debug)]
pub struct AgentInfo {
    /// `http.agenturl()`.
    pub agent_url: String,
    /// `imp.getsoftwareversion()`.
    pub software_version: String,
    /// The bytes of the last durable [`crate::Output::Save`], if there was one.
    pub saved: Option<Vec<u8>>,
    /// Whether the device is connected at the start; later told by [`crate::Input::Connected`].
    pub connected: bool,
}

/// Why an app was started; the numbers are those `hardware.wakereason()` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WakeReason {
    /// The device was switched on, or its runtime started.
    PowerOn = 0,
    /// The time of its sleep was over.
    Timer = 1,
    /// The app before this one ran out of memory.
    OutOfMemory = 2,
    /// A pin went high that ends sleep.
    Pin = 3,
    /// A new app was delivered.
    NewApp = 4,
    /// The app before this one failed.
    AppError = 5,
    /// The runtime was started from a new OS image, which has still to prove itself.
    NewOs = 6,
    /// There is a session again, after the app was put to sleep for the lack of one.
    Snooze = 7,
    /// The app or its owner asked for a restart.
    Restart = 10,
}

impl WakeReason {
    /// Whether a session is wanted from the start; an app that was asleep begins without one until it needs it.
    pub(crate) const fn begins_connected(self) -> bool {
        !matches!(self, Self::Timer | Self::Pin)
    }

    /// The number a script sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

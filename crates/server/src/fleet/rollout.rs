//! Roll-outs: a release that reaches the devices of a group in phases, and stops by itself when too many fail.

use std::fmt;
use std::str::FromStr;

use release::version::OsVersion;

use super::ids::{AccountId, GroupId, ReleaseId, RolloutId};
use super::text::Invalid;

/// The most phases of a roll-out.
pub const PHASES_MAX: usize = 10;
/// The phases when nobody says otherwise.
pub const PHASES: &str = "5%,25%,100%";
/// The share of failed devices at which a roll-out stops when nobody says otherwise, percent.
pub const MAX_FAILURES: u32 = 10;

/// How far a phase goes, counted from the beginning of the roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// So many percent of the group's devices whose models the release has, and at least one.
    Percent(u32),
    /// So many devices.
    Devices(u32),
}

/// The phases of a roll-out, each larger than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases(Vec<Phase>);

/// What a roll-out does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// Devices get the release, those that join the group later as well.
    Running,
    /// A person holds it; what was not installed is not installed.
    Paused,
    /// Too many devices failed.
    Stopped,
    /// A person ended it.
    Aborted,
    /// A newer roll-out of the group took its place.
    Replaced,
}

/// How far one device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceStep {
    /// The roll-out has reached it.
    Offered,
    /// It fetches the image.
    Downloading,
    /// The image is verified and in the inactive slot.
    Installed,
    /// It runs the image on trial.
    Trying,
    /// It runs the image for good.
    Confirmed,
    /// It went back to what it ran before.
    FellBack,
    /// It did not install the image.
    Refused,
}

/// A roll-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// What it brings.
    pub release: ReleaseId,
    /// The version of that.
    pub version: OsVersion,
    /// Whom it reaches.
    pub group: GroupId,
    /// Who began it.
    pub creator: AccountId,
    /// Its phases.
    pub phases: Phases,
    /// Which of them it is in, from 0.
    pub phase: usize,
    /// It stops when more percent than this of the devices that it reached have failed.
    pub max_failures: u32,
    /// What it does.
    pub state: RolloutState,
    /// Why it stopped; empty otherwise.
    pub reason: String,
    /// How many devices this phase reaches.
    pub admit_max: i64,
    /// How many devices it has reached.
    pub admitted: i64,
    /// How many of them run the release for good.
    pub confirmed: i64,
    /// How many of them fell back or refused.
    pub failed: i64,
    /// When it began, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
}

/// How far one device is with a roll-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutDevice {
    /// The device.
    pub id: keys::public::DeviceId,
    /// How far it is.
    pub step: DeviceStep,
    /// Why it failed; empty otherwise.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub updated_ms: i64,
}

/// How many devices of a model run which OS version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The model.
    pub model: String,
    /// The version that they proved last; none has been proved yet.
    pub version: Option<String>,
    /// How many.
    pub devices: i64,
    /// How many of them are in no group, so that no roll-out reaches them.
    pub without_group: i64,
}

impl Phase {
    /// How many devices it reaches, of so many that there are now. The whole has no bound, so that devices that join later are reached.
    fn reaches(self, devices: i64) -> i64 {
        match self {
            Phase::Percent(100) => i64::MAX,
            Phase::Percent(percent) => {
                let share = devices.saturating_mul(i64::from(percent));
                (share / 100 + i64::from(share % 100 != 0)).max(1)
            }
            Phase::Devices(count) => i64::from(count),
        }
    }
}

impl Phases {
    /// How many devices a phase reaches; one beyond the last reaches what the last does.
    pub fn reach(&self, phase: usize, devices: i64) -> i64 {
        self.0.get(phase).or(self.0.last()).map_or(0, |phase| phase.reaches(devices))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One of them.
    pub fn get(&self, phase: usize) -> Option<Phase> {
        self.0.get(phase).copied()
    }
}

impl Rollout {
    /// Judges it after something has happened to a device: stops it when too many failed, and begins the next phase when this one is done.
    /// `devices` is how many of the group have models of the release.
    pub fn judge(&mut self, devices: i64) {
        if self.state != RolloutState::Running {
            return;
        }
        if self.failed.saturating_mul(100) > self.admitted.saturating_mul(i64::from(self.max_failures)) {
            self.state = RolloutState::Stopped;
            self.reason =
                format!("{} of {} devices failed, more than {} %", self.failed, self.admitted, self.max_failures);
            return;
        }
        while self.phase + 1 < self.phases.count() && self.confirmed.saturating_add(self.failed) >= self.admit_max {
            self.phase += 1;
            self.admit_max = self.phases.reach(self.phase, devices).max(self.admit_max);
        }
    }
}

impl DeviceStep {
    /// Whether nothing more is to come.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Confirmed | Self::FellBack | Self::Refused)
    }

    /// Whether the device failed.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::FellBack | Self::Refused)
    }
}

impl FromStr for Phases {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid(format!(
                "phases are 1 to {PHASES_MAX} shares or counts of devices, each larger than the one before, as in {PHASES} or 10,100,100%"
            ))
        };
        let phases: Vec<_> =
            text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map_err(|()| wrong())?;
        let grows = phases.is_sorted_by(|a, b| match (a, b) {
            (Phase::Percent(a), Phase::Percent(b)) | (Phase::Devices(a), Phase::Devices(b)) => a < b,
            (Phase::Devices(_), Phase::Percent(_)) => true,
            (Phase::Percent(_), Phase::Devices(_)) => false,
        });
        if grows && phases.len() <= PHASES_MAX { Ok(Self(phases)) } else { Err(wrong()) }
    }
}

impl FromStr for Phase {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0).ok_or(());
        match text.strip_suffix('%') {
            Some(percent) => {
                number(percent).and_then(|percent| if percent <= 100 { Ok(Self::Percent(percent)) } else { Err(()) })
            }
            None => number(text).map(Self::Devices),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Devices(count) => write!(f, "{count}"),
        }
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, phase) in self.0.iter().enumerate() {
            write!(f, "{}{phase}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

macro_rules! named {
    ($($kind:ident { $($variant:ident => $name:literal,)* })*) => {$(
        impl $kind {
            /// Every one.
            pub const ALL: &'static [$kind] = &[$($kind::$variant,)*];

            /// Its stable name.
            pub fn as_str(self) -> &'static str {
                match self { $($kind::$variant => $name,)* }
            }
        }

        impl FromStr for $kind {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($name => Ok($kind::$variant),)* _ => Err(()) }
            }
        }
    )*};
}

named! {
    RolloutState {
        Running => "running",
        Paused => "paused",
        Stopped => "stopped",
        Aborted => "aborted",
        Replaced => "replaced",
    }
    DeviceStep {
        Offered => "offered",
        Downloading => "downloading",
        Installed => "installed",
        Trying => "trying",
        Confirmed => "confirmed",
        FellBack => "fell-back",
        Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(phases: &str, devices: i64) -> Rollout {
        let phases: Phases = phases.parse().unwrap();
        Rollout {
            id: RolloutId::random(),
            release: ReleaseId::random(),
            version: OsVersion::new(1, 4, 0),
            group: GroupId::random(),
            creator: AccountId::random(),
            phase: 0,
            max_failures: 10,
            state: RolloutState::Running,
            reason: String::new(),
            admit_max: phases.reach(0, devices),
            phases,
            admitted: 0,
            confirmed: 0,
            failed: 0,
            created_ms: 0,
            updated_ms: 0,
        }
    }

    #[test]
    fn phases_grow_and_have_a_spelling() {
        for text in ["100%", "5%,25%,100%", "1,10,100%", "3", "1,2,3,4,5,6,7,8,9,10"] {
            assert_eq!(text.parse::<Phases>().unwrap().to_string(), text);
        }
        assert_eq!(" 5% , 100%".parse::<Phases>().unwrap().to_string(), "5%,100%");
        for text in ["", "0", "0%", "101%", "5%,5%", "25%,5%", "5%,10", "a", "5%,", "-1", "1,2,3,4,5,6,7,8,9,10,11"] {
            assert!(text.parse::<Phases>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_share_is_at_least_one_device_and_the_whole_has_no_bound() {
        let phases: Phases = "5%,25%,100%".parse().unwrap();
        for (devices, first, second) in [(0, 1, 1), (1, 1, 1), (20, 1, 5), (21, 2, 6), (1000, 50, 250)] {
            assert_eq!((phases.reach(0, devices), phases.reach(1, devices)), (first, second), "{devices}");
            assert_eq!(phases.reach(2, devices), i64::MAX, "devices that join later are reached");
        }
    }

    #[test]
    fn a_phase_begins_when_the_one_before_is_done_and_none_goes_back() {
        let mut rollout = rollout("5%,25%,100%", 20);
        rollout.admitted = 1;
        rollout.judge(20);
        assert_eq!((rollout.phase, rollout.admit_max), (0, 1));
        rollout.confirmed = 1;
        rollout.judge(20);
        assert_eq!((rollout.phase, rollout.admit_max), (1, 5));
        (rollout.admitted, rollout.confirmed) = (5, 5);
        rollout.judge(4);
        assert_eq!((rollout.phase, rollout.admit_max), (2, i64::MAX));
    }

    #[test]
    fn too_many_failures_stop_it_and_as_many_as_allowed_do_not() {
        let mut rollout = rollout("100%", 100);
        (rollout.admitted, rollout.confirmed, rollout.failed) = (100, 50, 10);
        rollout.judge(100);
        assert_eq!(rollout.state, RolloutState::Running);
        rollout.failed = 11;
        rollout.judge(100);
        assert_eq!(
            (rollout.state, rollout.reason.as_str()),
            (RolloutState::Stopped, "11 of 100 devices failed, more than 10 %")
        );
        rollout.failed = 0;
        rollout.judge(100);
        assert_eq!(rollout.state, RolloutState::Stopped, "only a person resumes it");
    }

    #[test]
    fn the_first_device_that_fails_alone_stops_a_careful_rollout() {
        let mut rollout = rollout("5%,100%", 20);
        (rollout.admitted, rollout.failed) = (1, 1);
        rollout.judge(20);
        assert_eq!((rollout.state, rollout.phase), (RolloutState::Stopped, 0));
    }

    #[test]
    fn names_are_read_again() {
        for state in RolloutState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for step in DeviceStep::ALL {
            assert_eq!(step.as_str().parse(), Ok(*step));
        }
        assert!("x".parse::<DeviceStep>().is_err());
    }
}

//! Which slot boots, and what is known of each: the control record of a device. Pure rules; the parent stores it.

use keys::cbor::{self, CborError};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// One of the two places for an OS image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Slot {
    /// The first one; the factory fills it.
    #[n(0)]
    A,
    /// The second one.
    #[n(1)]
    B,
}

/// The control record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Control {
    /// What boots.
    #[n(0)]
    pub(crate) active: Slot,
    #[n(1)]
    a: Option<Installed>,
    #[n(2)]
    b: Option<Installed>,
    /// An installation into the slot that is not active, as far as it has come.
    #[n(3)]
    pub(crate) installing: Option<Installing>,
    /// Why the device last went back to an older image; told to the server with the next session.
    #[n(4)]
    pub(crate) fell_back: Option<String>,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Installed {
    #[n(0)]
    pub(crate) content: Content,
    #[n(1)]
    pub(crate) state: State,
}

/// What identifies one write of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Content {
    /// The signed manifest (COSE_Sign1), checked at the installation and again at each boot.
    #[n(0)]
    pub(crate) manifest: ByteVec,
    /// What each write draws anew.
    #[n(1)]
    pub(crate) salt: ByteArray<16>,
    /// Bytes of the image.
    #[n(2)]
    pub(crate) length: u64,
}

/// How far an image has proved itself on this device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum State {
    /// It has opened an authenticated session, or came from the factory.
    #[n(0)]
    Confirmed,
    /// It is being tried.
    #[n(1)]
    Trying {
        /// How often it may still be started.
        #[n(0)]
        starts_left: u8,
    },
    /// It is not started any more.
    #[n(2)]
    Bad {
        /// Why.
        #[n(0)]
        why: String,
    },
}

/// An interrupted or running installation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Installing {
    #[n(0)]
    pub(crate) content: Content,
    /// How many chunks have durably reached the slot.
    #[n(1)]
    pub(crate) chunks: u32,
    /// The SHA-256 of the content key: what goes on under another one could be other bytes under the slot's key.
    #[n(2)]
    pub(crate) content_key: ByteArray<32>,
}

/// The longest reason that is kept, in bytes.
const REASON_BYTES: usize = 256;

impl Slot {
    /// The name of its file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Slot::A => "slot-a",
            Slot::B => "slot-b",
        }
    }

    /// The name that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

impl Control {
    /// A device as the factory leaves it.
    pub(crate) fn of_factory(content: Content) -> Control {
        let a = Some(Installed { content, state: State::Confirmed });
        Control { active: Slot::A, a, b: None, installing: None, fell_back: None }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Control, CborError> {
        cbor::decode(bytes)
    }

    pub(crate) fn slot(&self, slot: Slot) -> Option<&Installed> {
        match slot {
            Slot::A => self.a.as_ref(),
            Slot::B => self.b.as_ref(),
        }
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut Option<Installed> {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// Whether the active image is on trial.
    pub(crate) fn is_trying(&self) -> bool {
        matches!(self.slot(self.active), Some(Installed { state: State::Trying { .. }, .. }))
    }

    /// Counts a start of the active image. True when the record changed and is to be stored before the start. An image on
    /// trial that has had its starts is given up for the other one.
    pub(crate) fn count_start(&mut self, starts: u8) -> bool {
        let active = self.active;
        let Some(Installed { state: State::Trying { starts_left }, .. }) = self.slot_mut(active) else { return false };
        match starts_left.checked_sub(1) {
            Some(left) => *starts_left = left,
            None => self.give_up(&format!("it did not reach the server in {starts} starts")),
        }
        true
    }

    /// Gives up the active image, and goes back to the other one where that is confirmed.
    pub(crate) fn give_up(&mut self, why: &str) {
        let (active, other) = (self.active, self.active.other());
        let mut why = why.to_owned();
        why.truncate(why.floor_char_boundary(REASON_BYTES));
        if let Some(installed) = self.slot_mut(active) {
            installed.state = State::Bad { why: why.clone() };
        }
        if matches!(self.slot(other), Some(Installed { state: State::Confirmed, .. })) {
            self.active = other;
            self.fell_back = Some(why);
        }
    }

    /// The active image has opened an authenticated session. True when the record changed.
    pub(crate) fn confirm(&mut self) -> bool {
        let active = self.active;
        match self.slot_mut(active) {
            Some(Installed { state: state @ State::Trying { .. }, .. }) => {
                *state = State::Confirmed;
                self.fell_back = None;
                true
            }
            _ => false,
        }
    }

    /// Begins to write the slot that is not active at a chunk; what it held does not count any more.
    pub(crate) fn begin_install(&mut self, installing: Installing) {
        let inactive = self.active.other();
        *self.slot_mut(inactive) = None;
        self.installing = Some(installing);
    }

    #[cfg(test)]
    pub(crate) fn danger_set_length(&mut self, length: u64) {
        let active = self.active;
        self.slot_mut(active).as_mut().unwrap().content.length = length;
    }

    /// So many chunks would survive a power cut now.
    pub(crate) fn progress(&mut self, chunks: u32) {
        if let Some(installing) = &mut self.installing {
            installing.chunks = chunks;
        }
    }

    /// The slot that is not active holds the new image: it is tried at the next start.
    pub(crate) fn finish_install(&mut self, starts: u8) {
        let Some(Installing { content, .. }) = self.installing.take() else { return };
        let inactive = self.active.other();
        *self.slot_mut(inactive) = Some(Installed { content, state: State::Trying { starts_left: starts } });
        self.active = inactive;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(number: u8) -> Content {
        Content { manifest: vec![number].into(), salt: [number; 16].into(), length: 7 }
    }

    fn installing(number: u8) -> Installing {
        Installing { content: content(number), chunks: 0, content_key: [number; 32].into() }
    }

    fn updated() -> Control {
        let mut control = Control::of_factory(content(1));
        control.begin_install(installing(2));
        control.finish_install(2);
        control
    }

    #[test]
    fn it_comes_back_as_it_was_and_nothing_else_is_taken() {
        let control = updated();
        let bytes = control.encode();
        assert_eq!(Control::decode(&bytes), Ok(control));
        for length in 0..bytes.len() {
            assert!(Control::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Control::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn an_image_that_never_confirms_has_its_starts_and_the_old_one_comes_back_with_the_reason() {
        let mut control = updated();
        for _ in 0..2 {
            assert!(control.count_start(2) && control.active == Slot::B && control.is_trying());
        }
        assert!(control.count_start(2));
        assert_eq!(control.active, Slot::A);
        assert_eq!(control.fell_back.as_deref(), Some("it did not reach the server in 2 starts"));
        assert!(matches!(&control.slot(Slot::B).unwrap().state, State::Bad { why } if why.contains("2 starts")));
        assert!(!control.count_start(2), "a confirmed image may be started for ever");
    }

    #[test]
    fn a_confirmed_image_stays_and_the_next_update_goes_into_the_other_slot() {
        let mut control = updated();
        assert!(control.count_start(2) && control.confirm() && !control.confirm());
        assert!(!control.is_trying() && !control.count_start(2));
        control.begin_install(installing(3));
        assert_eq!((control.active, control.slot(Slot::A)), (Slot::B, None));
        control.finish_install(2);
        assert_eq!((control.active, &control.slot(Slot::A).unwrap().content), (Slot::A, &content(3)));
    }

    #[test]
    fn without_another_image_there_is_nothing_to_go_back_to() {
        let mut control = Control::of_factory(content(1));
        control.give_up("it does not open");
        assert_eq!((control.active, control.fell_back.is_none()), (Slot::A, true));
        let mut control = updated();
        control.give_up("first");
        control.give_up("second");
        assert_eq!(control.active, Slot::A, "a bad image is no way back");
    }

    #[test]
    fn a_long_reason_is_cut() {
        let mut control = updated();
        control.give_up(&"ü".repeat(REASON_BYTES));
        assert_eq!(control.fell_back.unwrap().len(), REASON_BYTES);
    }
}

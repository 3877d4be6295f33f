//! A virtual PIV card: the firmware of a real one, in a reader that is no more than a TCP port. `virtual-card PORT`.

mod platform;

use std::net::SocketAddr;

use heapless::Vec as Bounded;
use iso7816::command::class::Chain;
use iso7816::{Command, Instruction, Status};
use piv_authenticator::{Authenticator, Options};
use trussed::virt::{StoreConfig, with_platform};
use vpicc::VSmartCard;

use crate::platform::{BACKENDS, Platform};

/// The longest command and response that a card takes and gives.
const LONGEST: usize = 8192;
/// The longest part of a response that a short command is answered with.
const PART: usize = 256;

/// A card in its reader.
struct Card<'a> {
    piv: Authenticator<trussed::virt::Client<'a, Platform>>,
    /// The parts of a command whose last one is still to come.
    command: Option<Command<LONGEST>>,
    /// What is left of a response that is fetched in parts.
    response: Vec<u8>,
}

fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(vpicc::DEFAULT_PORT);
    with_platform(StoreConfig::ram(), |platform| {
        platform.run_client_with_backends("piv", Platform::new(), BACKENDS, |client| {
            let piv = Authenticator::new(client, Options::new());
            let mut card = Card { piv, command: None, response: Vec::new() };
            let reader = vpicc::connect_socket(SocketAddr::from((vpicc::DEFAULT_HOST, port)));
            // The reader closes the line when it goes.
            if let Err(error) = reader.and_then(|reader| reader.run(&mut card)) {
                eprintln!("the card leaves its reader: {error}");
            }
        });
    });
}

impl VSmartCard for Card<'_> {
    fn power_off(&mut self) {
        self.reset();
    }

    fn reset(&mut self) {
        self.command = None;
        self.response.clear();
        self.piv.deselect();
    }

    fn execute(&mut self, apdu: &[u8]) -> Vec<u8> {
        match Command::<LONGEST>::try_from(apdu) {
            Ok(command) => self.answer(command),
            Err(_) => status(Status::UnspecifiedCheckingError),
        }
    }
}

impl Card<'_> {
    fn answer(&mut self, command: Command<LONGEST>) -> Vec<u8> {
        if command.instruction() == Instruction::GetResponse {
            return self.next_part(PART);
        }
        let is_last = command.class().chain() != Chain::NotTheLast;
        let extended = command.extended;
        let whole = match self.command.take() {
            None => command,
            Some(mut before) => match before.extend_from_command(&command) {
                Ok(()) => before,
                Err(_) => return status(Status::WrongLength),
            },
        };
        if !is_last {
            self.command = Some(whole);
            return status(Status::Success);
        }
        let mut response = Bounded::<u8, LONGEST>::new();
        match self.piv.respond(whole.as_view(), response.as_mut_view()) {
            Ok(()) => {
                self.response = response.to_vec();
                self.next_part(if extended { LONGEST } else { PART })
            }
            Err(refusal) => status(refusal),
        }
    }

    /// So many bytes of the response, and whether more is to be fetched.
    fn next_part(&mut self, most: usize) -> Vec<u8> {
        let rest = self.response.split_off(self.response.len().min(most));
        let mut part = std::mem::replace(&mut self.response, rest);
        let left = u8::try_from(self.response.len()).unwrap_or(0);
        part.extend(status(if self.response.is_empty() { Status::Success } else { Status::MoreAvailable(left) }));
        part
    }
}

fn status(status: Status) -> Vec<u8> {
    u16::from(status).to_be_bytes().to_vec()
}

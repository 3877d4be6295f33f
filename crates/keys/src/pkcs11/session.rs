//! The sessions of one token: logged in with one try of its PIN, opened again after the token was away.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::{
    context::Pkcs11,
    error::{Error, RvError},
    session::{Session, UserType},
};

use super::{
    module::Module,
    spec::TokenName,
    token::{Pin, TokenError, auth_pin},
};
use crate::limits::LIMITS;

/// The sessions that wait for their next use. Each operation has one to itself.
#[derive(Debug)]
pub(super) struct Sessions {
    module: Module,
    name: TokenName,
    pin: Pin,
    /// Each with the start of the library that it belongs to.
    idle: Mutex<Vec<(Session, u64)>>,
    /// Whether the token refused the PIN; held while logging in, so that only one tries.
    refused: Mutex<bool>,
}

impl Sessions {
    pub(super) fn new(module: Module, name: TokenName, pin: Pin) -> Sessions {
        Sessions { module, name, pin, idle: Mutex::default(), refused: Mutex::default() }
    }

    pub(super) fn module(&self) -> &Module {
        &self.module
    }

    pub(super) fn name(&self) -> &TokenName {
        &self.name
    }

    /// Does something in a session. When the token seems to be gone, it is looked for again, at last with the library started
    /// again: some do not notice by themselves that it is back.
    pub(super) fn with<T>(&self, work: impl Fn(&Session) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let done = self.try_with(&work);
        if !matches!(&done, Err(error) if error.is_gone()) {
            return done;
        }
        self.module.restart()?;
        self.try_with(&work)
    }

    fn try_with<T>(&self, work: &impl Fn(&Session) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let (library, starts) = self.module.library();
        while let Some((session, start)) = self.next_idle() {
            // One from before the last start is none any more, and its number may be another's.
            if start != *starts {
                continue;
            }
            match work(&session) {
                // Its token is gone, and it goes with it.
                Err(error) if error.is_gone() => drop(session.close()),
                done => {
                    self.put_back(session, start);
                    return done;
                }
            }
        }
        let session = library.open_rw_session_no_drop(self.module.find(&self.name)?.slot)?;
        let done = self.log_in(library, &session, UserType::User).and_then(|()| work(&session));
        if done.is_ok() {
            self.put_back(session, *starts);
        } else {
            // An error has been told already; this one would hide it.
            let _ = session.close();
        }
        done
    }

    /// Shows the token the PIN between C_SignInit and C_SignUpdate, for keys that want it for each signature.
    pub(super) fn authenticate(&self, session: &Session) -> Result<(), TokenError> {
        self.log_in(self.module.in_use(), session, UserType::ContextSpecific)
    }

    fn log_in(&self, library: &Pkcs11, session: &Session, user: UserType) -> Result<(), TokenError> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *refused {
            return Err(TokenError::PinWasWrong(self.name.label.clone()));
        }
        let info = library.get_token_info(session.get_session_info()?.slot_id())?;
        if info.user_pin_locked() {
            return Err(TokenError::PinLocked(self.name.label.clone()));
        }
        // The counter of a card outlives this process, and whoever starts it again and again.
        if self.pin.is_unattended() && (info.user_pin_count_low() || info.user_pin_final_try()) {
            return Err(TokenError::PinWasWrong(self.name.label.clone()));
        }
        match session.login(user, Some(&auth_pin(&self.pin.read()?)?)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let error = TokenError::from_login(error, &self.name);
                *refused = matches!(error, TokenError::WrongPin | TokenError::PinLocked(_));
                Err(error)
            }
        }
    }

    /// A session that waits; the lock is free again when this returns.
    fn next_idle(&self) -> Option<(Session, u64)> {
        self.idle().pop()
    }

    fn put_back(&self, session: Session, start: u64) {
        let mut idle = self.idle();
        if idle.len() < LIMITS.token_sessions {
            idle.push((session, start));
        } else {
            // It works, so that it closes; and if not, its token is gone.
            let _ = session.close();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Session, u64)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        let (_, starts) = self.module.library();
        for (session, _) in self.idle().drain(..).filter(|(_, start)| *start == *starts) {
            // The last session of this process logs out as it closes; a token that is gone has done so already.
            let _ = session.close();
        }
    }
}

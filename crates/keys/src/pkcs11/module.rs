//! A vendor's PKCS#11 library, loaded once, and the tokens it reaches.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    session::UserType,
    slot::Slot,
};

use super::{
    spec::TokenName,
    token::{TokenError, auth_pin},
};
use crate::secret::Secret;

/// C_Initialize is for the whole process, so each library is loaded once and stays.
static LOADED: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

/// A loaded PKCS#11 library.
#[derive(Clone, Debug)]
pub struct Module {
    path: PathBuf,
    library: Pkcs11,
    /// How often it was started again. Nothing may be under way in a library while that happens.
    starts: Arc<RwLock<u64>>,
}

/// What a token says about itself (C_GetTokenInfo).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its label, without the padding.
    pub label: String,
    /// Who made it.
    pub maker: String,
    /// Which model it is.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// The version of its hardware: major.minor.
    pub hardware: String,
    /// The version of its firmware: major.minor.
    pub firmware: String,
    /// Whether it has been initialised; a blank one has no label and no keys.
    pub initialised: bool,
    pub(super) slot: Slot,
}

impl TokenInfo {
    /// Whether it is software that only acts as a token: its folder can be copied, and its PIN tried elsewhere.
    pub fn is_stand_in(&self) -> bool {
        is_stand_in(&self.maker)
    }
}

/// Whether a token of this maker is software that only acts as one.
pub fn is_stand_in(maker: &str) -> bool {
    maker.to_lowercase().contains("softhsm")
}

impl Module {
    /// Loads the library at this path, or takes the one that is loaded already.
    ///
    /// # Errors
    /// [`TokenError::Library`] when it cannot be loaded or does not start.
    pub fn load(path: &Path) -> Result<Module, TokenError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: Error| TokenError::Library { path: path.to_owned(), why: error.to_string() };
        if let Some(module) = loaded.get(path) {
            return Ok(module.clone());
        }
        let library = Pkcs11::new(path).map_err(failed)?;
        start(&library).map_err(failed)?;
        let module = Module { path: path.to_owned(), library, starts: Arc::default() };
        loaded.insert(path.to_owned(), module.clone());
        Ok(module)
    }

    /// The library, kept from being started again until the guard goes, and how often that happened before.
    pub(super) fn library(&self) -> (&Pkcs11, RwLockReadGuard<'_, u64>) {
        (&self.library, self.starts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The library, for what is done while [`Module::library`]'s guard is held.
    pub(super) fn in_use(&self) -> &Pkcs11 {
        &self.library
    }

    /// Starts the library again: some do not notice by themselves that a token or its reader is back. All sessions end.
    pub(super) fn restart(&self) -> Result<(), TokenError> {
        let mut starts = self.starts.write().unwrap_or_else(PoisonError::into_inner);
        *starts += 1;
        match self.library.clone().finalize() {
            // The last start failed.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(start(&self.library)?)
    }

    /// The tokens that are present.
    ///
    /// # Errors
    /// [`TokenError::Failed`] when the library does not say.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, TokenError> {
        let _in_use = self.library();
        self.list()
    }

    fn list(&self) -> Result<Vec<TokenInfo>, TokenError> {
        let slots = self.library.get_slots_with_token()?;
        let info = |slot| match self.library.get_token_info(slot) {
            Ok(info) => Some(Ok(TokenInfo {
                label: info.label().trim_end().to_owned(),
                maker: info.manufacturer_id().trim_end().to_owned(),
                model: info.model().trim_end().to_owned(),
                serial: info.serial_number().trim_end().to_owned(),
                hardware: info.hardware_version().to_string(),
                firmware: info.firmware_version().to_string(),
                initialised: info.token_initialized(),
                slot,
            })),
            // Pulled out between the two calls.
            Err(Error::Pkcs11(RvError::TokenNotPresent | RvError::DeviceRemoved, _)) => None,
            Err(error) => Some(Err(TokenError::from_library(error))),
        };
        slots.into_iter().filter_map(info).collect()
    }

    /// The one token of this name.
    ///
    /// # Errors
    /// [`TokenError::NoToken`], or [`TokenError::SeveralTokens`].
    pub fn token(&self, name: &TokenName) -> Result<TokenInfo, TokenError> {
        let _in_use = self.library();
        self.find(name)
    }

    pub(super) fn find(&self, name: &TokenName) -> Result<TokenInfo, TokenError> {
        let is_meant = |token: &TokenInfo| {
            let is_serial = name.serial.as_ref().is_none_or(|serial| token.serial == *serial);
            token.initialised && token.label == name.label && is_serial
        };
        let mut found: Vec<TokenInfo> = self.list()?.into_iter().filter(is_meant).collect();
        let path = self.path.clone();
        match (found.pop(), found.is_empty()) {
            (Some(token), true) => Ok(token),
            (None, _) => Err(TokenError::NoToken { name: name.clone(), path }),
            (Some(last), false) => {
                let serials = found.into_iter().chain([last]).map(|token| token.serial).collect();
                Err(TokenError::SeveralTokens { label: name.label.clone(), serials, path })
            }
        }
    }

    /// Makes a token ready for use: erases what it held, and gives it a label, a security officer's PIN and a user's PIN.
    ///
    /// # Errors
    /// [`TokenError`] when the token refuses; a label that another token has is refused before anything is erased.
    pub fn initialise(
        &self,
        token: &TokenInfo,
        label: &str,
        so_pin: &Secret,
        pin: &Secret,
    ) -> Result<TokenInfo, TokenError> {
        if label.is_empty() || label.len() > 32 || label.trim() != label {
            return Err(TokenError::Label(label.to_owned()));
        }
        let _in_use = self.library();
        if let Some(other) = self.list()?.into_iter().find(|other| other.slot != token.slot && other.label == label) {
            return Err(TokenError::LabelTaken { label: label.to_owned(), serial: other.serial });
        }
        let (so_pin, pin) = (auth_pin(so_pin)?, auth_pin(pin)?);
        self.library.init_token(token.slot, &so_pin, label)?;
        // The slot's number may be another one from now on.
        let name = TokenName::from(label);
        let session = self.library.open_rw_session(self.find(&name)?.slot)?;
        session.login(UserType::So, Some(&so_pin)).map_err(|error| TokenError::from_login(error, &name))?;
        let set = session.init_pin(&pin);
        session.logout()?;
        set?;
        self.find(&name)
    }

    /// Gives the security officer of a token another PIN. No session of this process may be logged in to it.
    ///
    /// # Errors
    /// [`TokenError::WrongPin`] after one try with the old one.
    pub fn set_so_pin(&self, name: &TokenName, old: &Secret, new: &Secret) -> Result<(), TokenError> {
        let _in_use = self.library();
        let session = self.library.open_rw_session(self.find(name)?.slot)?;
        let old = auth_pin(old)?;
        session.login(UserType::So, Some(&old)).map_err(|error| TokenError::from_login(error, name))?;
        let set = session.set_pin(&old, &auth_pin(new)?);
        session.logout()?;
        Ok(set?)
    }
}

fn start(library: &Pkcs11) -> Result<(), Error> {
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        started => started,
    }
}

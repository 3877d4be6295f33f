//! Where cards and the HSM are, as people write it, and opening them.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use keys::pkcs11::{KeyId, Module, Pin, Token, TokenName};
use keys::secret::Secret;
use release::author::ceremony::card::{Card, CardKeys};

use crate::commands::password;
use crate::output::{Output, Tone, paint};

/// `pkcs11:MODULE;token=LABEL`, with `;serial=`, `;pin-file=`, `;sign=` and `;agree=` where they are wanted.
#[derive(Clone, Debug)]
pub(crate) struct TokenPlace {
    pub(crate) module: PathBuf,
    pub(crate) token: TokenName,
    pin_file: Option<PathBuf>,
    sign: Option<KeyId>,
    agree: Option<KeyId>,
}

/// `NAME=pkcs11:...`: a custodian and their card.
#[derive(Clone, Debug)]
pub(crate) struct CustodianCard {
    pub(crate) name: String,
    place: TokenPlace,
}

const FORM: &str = "pkcs11:/path/of/library.so;token=LABEL, and where wanted ;serial=NUMBER, ;pin-file=FILE, ;sign=ID, ;agree=ID (CKA_ID in hex)";

impl FromStr for TokenPlace {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<TokenPlace> {
        let wrong = || anyhow!("{text:?} is no place of a token; write {FORM}");
        let mut parts = text.strip_prefix("pkcs11:").ok_or_else(wrong)?.split(';');
        let module = PathBuf::from(parts.next().unwrap_or_default());
        if !module.is_absolute() {
            return Err(wrong());
        }
        let mut place = TokenPlace { module, token: TokenName::from(""), pin_file: None, sign: None, agree: None };
        for part in parts {
            match part.split_once('=').ok_or_else(wrong)? {
                ("token", label) => place.token.label = label.to_owned(),
                ("serial", serial) => place.token.serial = Some(serial.to_owned()),
                ("pin-file", file) => place.pin_file = Some(file.into()),
                ("sign", id) => place.sign = Some(id.parse()?),
                ("agree", id) => place.agree = Some(id.parse()?),
                _ => return Err(wrong()),
            }
        }
        if place.token.label.is_empty() { Err(wrong()) } else { Ok(place) }
    }
}

impl FromStr for CustodianCard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<CustodianCard> {
        let (name, place) =
            text.split_once('=').ok_or_else(|| anyhow!("{text:?} names no custodian; write NAME={FORM}"))?;
        Ok(CustodianCard { name: name.to_owned(), place: place.parse()? })
    }
}

impl TokenPlace {
    fn pin(&self, whose: &str) -> Result<Secret> {
        let pin = match &self.pin_file {
            Some(file) => password::read(Some(file))?,
            None => password::ask(
                "PIN",
                &format!("PIN of {whose} ({}): ", self.token),
                "name a pin-file in the token's place",
            )?,
        };
        Ok(Secret::new(pin.as_bytes().to_vec()))
    }

    fn keys(&self) -> Result<CardKeys> {
        let ours = CardKeys::ours()?;
        let signing = self.sign.clone().unwrap_or(ours.signing);
        Ok(CardKeys { signing, agreement: self.agree.clone().unwrap_or(ours.agreement) })
    }
}

impl CustodianCard {
    /// Opens the card with its PIN; makes its two keys first, where `prepare` says so and they are missing.
    pub(crate) fn open(&self, prepare: bool, output: &Output) -> Result<Card> {
        let in_card = || format!("the card of {}", self.name);
        let module = Module::load(&self.place.module).with_context(in_card)?;
        let pin = Pin::Typed(self.place.pin(&self.name)?);
        let token = Token::open(&module, self.place.token.clone(), pin).with_context(in_card)?;
        let keys = self.place.keys()?;
        if prepare {
            Card::prepare(&token, &keys).with_context(in_card)?;
        }
        let card = Card::open(token, keys, &self.name).with_context(in_card)?;
        output.say(&paint(Tone::Quiet, &format!("{} is here, card {}", self.name, card.info()?.serial)));
        Ok(card)
    }
}

/// Opens several cards.
pub(crate) fn open(cards: &[CustodianCard], prepare: bool, output: &Output) -> Result<Vec<Card>> {
    cards.iter().map(|card| card.open(prepare, output)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_an_owner_a_library_and_a_label() {
        let card: CustodianCard = "ada=pkcs11:/lib/opensc.so;token=PIV Card;sign=02;agree=03".parse().unwrap();
        assert_eq!((card.name.as_str(), card.place.token.label.as_str()), ("ada", "PIV Card"));
        assert_eq!(card.place.keys().unwrap().signing, "02".parse().unwrap());
        for bad in [
            "ada",
            "pkcs11:/lib/x.so;token=a",
            "ada=pkcs11:x.so;token=a",
            "ada=pkcs11:/x.so",
            "ada=pkcs11:/x.so;token=a;pin=1234",
            "ada=pkcs11:/x.so;token=a;sign=zz",
        ] {
            assert!(bad.parse::<CustodianCard>().is_err(), "{bad}");
        }
    }
}

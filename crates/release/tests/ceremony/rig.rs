//! A SoftHSM with an HSM and cards.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keys::pkcs11::{Module, Pin, Token, TokenError};
use keys::pki::{OperatorPki, ServerName, ServingPki};
use keys::public::PublicKey;
use keys::purpose::KeyPurpose;
use keys::secret::Secret;
use keys::signer::Signer;
use keys::time::Now;
use release::author::ceremony::acts::{
    CeremonyError, Circumstances, Founding, Meeting, Step, finish_founding, found, meet,
};
use release::author::ceremony::card::{Card, CardKeys};
use release::author::ceremony::state::Folder;
use release::root::{OnlineKeys, RootContent};

pub(crate) const HSM: &str = "hsm";
pub(crate) const FIRST_PIN: &str = "first-user-pin";
pub(crate) const FIRST_SO_PIN: &str = "first-so-pin";
const CARD_PIN: &str = "123456";

/// A key for these tests alone.
const IMPORTED: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9wanmY80wYQxUOro
EnWEAS1mgdmAN0eSd3Qi3PvFIdmhRANCAAT3zYcJgOmHeU7y+uHrrd7XQVG8wywz
fylI86Zm/gLM1qVAy921P9C+cXuJ8WIuB8dby/3iFx8eAqYpDPdSj5uX
-----END PRIVATE KEY-----
";

pub(crate) struct Rig {
    pub(crate) dir: PathBuf,
    pub(crate) module: Module,
}

/// Runs the test's body in a process of its own, with an HSM that is new.
pub(crate) fn alone(test: &str, body: impl FnOnce(&Rig)) {
    crate::alone::alone(test, |dir, module| {
        let rig = Rig { dir, module };
        rig.add_token(HSM, FIRST_SO_PIN, FIRST_PIN);
        body(&rig);
    });
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

pub(crate) fn circumstances() -> Circumstances {
    Circumstances { unix_ms: 1_800_000_000_000, note: Some("a test".to_owned()) }
}

pub(crate) fn ignore(_: Step) {}

fn p256() -> PublicKey {
    Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone()
}

impl Rig {
    fn add_token(&self, label: &str, so_pin: &str, pin: &str) {
        let blank = self.module.tokens().unwrap().into_iter().find(|token| !token.initialised).unwrap();
        self.module.initialise(&blank, label, &secret(so_pin), &secret(pin)).unwrap();
    }

    /// A new card of this custodian.
    pub(crate) fn new_card(&self, name: &str) -> Card {
        self.add_token(&format!("card of {name}"), FIRST_SO_PIN, CARD_PIN);
        self.prepare_again(name)
    }

    /// A card that makes the keys that it lacks.
    pub(crate) fn prepare_again(&self, name: &str) -> Card {
        let label = format!("card of {name}");
        let token = Token::open(&self.module, label.as_str(), Pin::Typed(secret(CARD_PIN))).unwrap();
        Card::prepare(&token, &CardKeys::ours().unwrap()).unwrap();
        self.card_as(name, name)
    }

    /// Has a card make its keys, with one that signs already on it which was made elsewhere.
    pub(crate) fn prepare_with_imported_key(&self, name: &str) -> Result<(), TokenError> {
        let label = format!("card of {name}");
        self.add_token(&label, FIRST_SO_PIN, CARD_PIN);
        let (keys, file) = (CardKeys::ours().unwrap(), self.dir.join("imported.pem"));
        fs::write(&file, IMPORTED).unwrap();
        let mut import = Command::new("softhsm2-util");
        import.arg("--import").arg(&file).args(["--token", &label, "--label", "x", "--pin", CARD_PIN]);
        assert!(import.args(["--id", &keys.signing.to_string()]).output().unwrap().status.success());
        let token = Token::open(&self.module, label.as_str(), Pin::Typed(secret(CARD_PIN))).unwrap();
        Card::prepare(&token, &keys)
    }

    /// The card of one custodian, shown as another's.
    pub(crate) fn card_as(&self, owner: &str, name: &str) -> Card {
        let label = format!("card of {owner}");
        let token = Token::open(&self.module, label.as_str(), Pin::Typed(secret(CARD_PIN))).unwrap();
        Card::open(token, CardKeys::ours().unwrap(), name).unwrap()
    }

    pub(crate) fn cards(&self, names: &[&str]) -> Vec<Card> {
        names.iter().map(|name| self.card_as(name, name)).collect()
    }

    pub(crate) fn new_cards(&self, names: &[&str]) -> Vec<Card> {
        names.iter().map(|name| self.new_card(name)).collect()
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.join("ceremony")
    }

    fn root(&self, release_needed: usize, root_needed: usize) -> RootContent {
        let pki = self.dir.join("pki");
        if !pki.exists() {
            fs::create_dir(&pki).unwrap();
            let now = Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };
            let names = [ServerName::try_from("iot.example").unwrap()];
            OperatorPki::create("Test", &names, now).unwrap().save(&pki).unwrap();
        }
        RootContent {
            version: 1,
            expires_unix_s: 1_900_000_000,
            custodians: Vec::new(),
            root_needed,
            release_needed,
            online: OnlineKeys { snapshot: p256(), timestamp: p256(), director: p256(), apps: p256() },
            release_keys: Vec::new(),
            tls_roots: ServingPki::load(&pki).unwrap().server_roots,
            log: None,
        }
    }

    /// A ceremony of these custodians.
    pub(crate) fn found(&self, cards: &[Card], needed: (usize, usize)) -> Result<Folder, CeremonyError> {
        self.found_watched(cards, needed, &mut ignore)
    }

    pub(crate) fn found_watched(
        &self,
        cards: &[Card],
        needed: (usize, usize),
        watch: &mut dyn FnMut(Step),
    ) -> Result<Folder, CeremonyError> {
        let founding = Founding {
            product: "till",
            root: self.root(needed.0, needed.1),
            certificate: None,
            kept: Some("the safe".to_owned()),
            module: &self.module,
            token: &HSM.into(),
            user: secret(FIRST_PIN),
            security_officer: secret(FIRST_SO_PIN),
        };
        found(&self.folder(), founding, cards, circumstances(), watch)
    }

    /// What goes on after a cut, with what the HSM had first.
    pub(crate) fn finish_founding(&self, cards: &[Card]) -> Result<Folder, CeremonyError> {
        let mut folder = Folder::open(&self.folder())?;
        let first = [&secret(FIRST_PIN), &secret(FIRST_SO_PIN)];
        finish_founding(&mut folder, &self.module, first, cards, circumstances(), &mut ignore)?;
        Ok(folder)
    }

    pub(crate) fn meet<'a>(&'a self, folder: &'a mut Folder, cards: &'a [Card]) -> Result<Meeting<'a>, CeremonyError> {
        meet(folder, cards, &self.module, &mut ignore)
    }

    pub(crate) fn opens(&self, pin: &str) -> bool {
        Token::open(&self.module, HSM, Pin::Typed(secret(pin))).is_ok()
    }
}

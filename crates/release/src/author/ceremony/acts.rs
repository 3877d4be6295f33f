//! What is done in a ceremony: founding it, signing a release, changing who and what it is made of.

use keys::pkcs11::{Module, TokenError, TokenName};
use keys::release_key::ReleaseKey;
use keys::secret::Secret;

use super::card::Card;
use super::changes::changes;
use super::hsm::{Hsm, HsmError, HsmFacts};
use super::login::{LoginError, LoginOf, SealedSecret, new_secret};
use super::record::{Act, Entry, hash, recorded_root};
use super::state::{Folder, FolderError, KeyPlace, LastRelease, Login, State};
use crate::anchors::ReleaseKeySlot;
use crate::author::{Draft, DraftError};
use crate::root::{Custodian, RootContent, RootError};

/// What happens, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A card opens its share of the HSM's secret.
    OpensShare(String),
    /// The HSM is logged in to.
    HsmOpen,
    /// The HSM makes an RSA-4096 key, which takes some seconds.
    MakesReleaseKey,
    /// A card signs the root.
    SignsRoot(String),
    /// The HSM signs the manifest of these models.
    SignsManifest(Vec<String>),
    /// The HSM's secrets are sealed to the custodians of the next root as well, who are not in force yet.
    SealsToNext,
    /// The root of this version is in force.
    InForce(u64),
    /// The HSM is given a new secret, which is sealed to the cards.
    ReplacesSecret,
    /// A card signs the record.
    SignsRecord(String),
}

/// Why an act was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The shares and the cards.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The HSM.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The metadata.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// A card is not one that the root names.
    #[error("the card of {0} is not the one that the root names for this custodian; nothing was done")]
    Stranger(String),
    /// The same card is there under two names.
    #[error("the cards of {0} and {1} are the same card; each custodian needs one of their own")]
    SameCard(String, String),
    /// Too few custodians.
    #[error("{present} custodians are here, {needed} are needed; nothing was done")]
    TooFew {
        /// How many are here.
        present: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The root names a release key that the folder has no place for.
    #[error("the ceremony's folder does not say where the HSM has the release key; take the folder from a copy")]
    NoKeyPlace,
}

/// Circumstances that go into the record.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// Milliseconds since 1970.
    pub unix_ms: i64,
    /// Where, and what else is to be written down.
    pub note: Option<String>,
}

/// What a new ceremony is to be.
#[derive(Debug)]
pub struct Founding<'a> {
    /// The product that will be released.
    pub product: &'a str,
    /// The content of the first root but for the release key, which is made now.
    pub root: RootContent,
    /// The number of the HSM's FIPS 140 certificate, as the operator states it.
    pub certificate: Option<String>,
    /// Where the HSM is kept.
    pub kept: Option<String>,
    /// The HSM's library.
    pub module: &'a Module,
    /// Its token.
    pub token: &'a TokenName,
    /// The user's secret before; worthless afterwards.
    pub user: Secret,
    /// The security officer's secret before; worthless afterwards.
    pub security_officer: Secret,
}

/// Founds a ceremony in a folder: all custodians are there.
///
/// # Errors
/// [`CeremonyError`]. Once the folder is there, [`finish_founding`] goes on, with what the HSM had first.
pub fn found(
    dir: &std::path::Path,
    founding: Founding<'_>,
    cards: &[Card],
    circumstances: Circumstances,
    watch: &mut dyn FnMut(Step),
) -> Result<Folder, CeremonyError> {
    Folder::refuse_used(dir)?;
    refuse_same_cards(cards)?;
    let Founding { product, mut root, certificate, kept, module, token, user, security_officer } = founding;
    root.custodians = cards.iter().map(|card| card.custodian().clone()).collect();
    let hsm = Hsm::open(module, token, &user)?;
    watch(Step::HsmOpen);
    watch(Step::MakesReleaseKey);
    let (id, key) = hsm.make_release_key()?;
    root.release_keys = vec![ReleaseKeySlot { key: key.clone(), revoked: false }];
    let root_file = sign_root(&root, cards, watch)?;

    let secrets = [new_secret(), new_secret()];
    let needed = root.release_needed;
    let user_sealed = SealedSecret::deal(LoginOf::User, &secrets[0], needed, &root.custodians)?;
    let so_sealed = SealedSecret::deal(LoginOf::SecurityOfficer, &secrets[1], root.root_needed, &root.custodians)?;
    let facts = HsmFacts::of(&hsm.info()?, certificate, kept);
    let mut state = State::new(product, facts, user_sealed, so_sealed);
    state.keys.push(place(&key, id.to_string()));
    let mut folder = Folder::create(dir, state, root, root_file)?;
    // Its login would stay that of the next one who asks.
    drop(hsm);
    finish_founding(&mut folder, module, [&user, &security_officer], cards, circumstances, watch)?;
    Ok(folder)
}

/// The second half of a founding, from its folder on: the HSM gets the secrets that are sealed to the cards, in place of the first ones of user
/// and security officer, and the record is begun. It may be repeated after a cut at any moment. All custodians are there.
///
/// # Errors
/// [`CeremonyError`], also when the record has begun.
pub fn finish_founding(
    folder: &mut Folder,
    module: &Module,
    first: [&Secret; 2],
    cards: &[Card],
    circumstances: Circumstances,
    watch: &mut dyn FnMut(Step),
) -> Result<(), CeremonyError> {
    folder.refuse_founded()?;
    check_present(&folder.root, cards, folder.root.custodians.len())?;
    // What the cards do not open must not become the HSM's.
    let user = folder.state.user.current.open(LoginOf::User, cards)?;
    let security_officer = folder.state.security_officer.current.open(LoginOf::SecurityOfficer, cards)?;
    watch(Step::ReplacesSecret);
    let name = folder.state.hsm.name();
    let [first_user, first_security_officer] = first;
    let hsm = match Hsm::open(module, &name, first_user) {
        Ok(hsm) => {
            hsm.change_user_secret(first_user, &user)?;
            hsm
        }
        Err(HsmError::Token(TokenError::WrongPin)) => Hsm::open(module, &name, &user)?,
        Err(error) => return Err(error.into()),
    };
    watch(Step::ReplacesSecret);
    let either = [first_security_officer.clone(), security_officer.clone()];
    hsm.change_so_secret(&either, &security_officer, &user)?;

    let release_key = folder.root.release_keys.first().map(|slot| slot.key.spki_hash().to_string());
    let act = Act::Founded {
        custodians: folder.root.custodians.iter().map(|custodian| custodian.name.clone()).collect(),
        release_needed: folder.root.release_needed,
        root_needed: folder.root.root_needed,
        release_key: release_key.ok_or(CeremonyError::NoKeyPlace)?,
    };
    write_record(folder, act, cards, circumstances, watch)
}

/// The HSM, opened by enough custodians, and what must be replaced before it is closed.
#[derive(Debug)]
pub struct Meeting<'a> {
    folder: &'a mut Folder,
    cards: &'a [Card],
    hsm: Hsm,
    secret: Secret,
}

/// Opens the HSM with the cards that are there.
///
/// # Errors
/// [`CeremonyError::TooFew`] and its like: then the HSM was not touched.
pub fn meet<'a>(
    folder: &'a mut Folder,
    cards: &'a [Card],
    module: &'a Module,
    watch: &mut dyn FnMut(Step),
) -> Result<Meeting<'a>, CeremonyError> {
    check_present(&folder.root, cards, folder.root.release_needed)?;
    for card in cards {
        watch(Step::OpensShare(card.custodian().name.clone()));
    }
    let name = folder.state.hsm.name();
    let (hsm, secret) = log_in(folder, cards, module, &name)?;
    watch(Step::HsmOpen);
    Ok(Meeting { folder, cards, hsm, secret })
}

/// Logs in with the user's secret. A cut may have fallen between writing the next one down and giving it to the HSM, or when it was sealed to
/// custodians who never came in force: what the HSM has is kept as the current one, for those in force.
fn log_in(
    folder: &mut Folder,
    cards: &[Card],
    module: &Module,
    name: &TokenName,
) -> Result<(Hsm, Secret), CeremonyError> {
    let user = &mut folder.state.user;
    let next = user.next.as_ref().and_then(|next| next.open(LoginOf::User, cards).ok());
    if let Some(secret) = next {
        match Hsm::open(module, name, &secret) {
            Ok(hsm) => {
                let root = &folder.root;
                user.settle(LoginOf::User, &secret, root.release_needed, &root.custodians)?;
                return Ok((hsm, secret));
            }
            Err(HsmError::Token(TokenError::WrongPin)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let secret = user.current.open(LoginOf::User, cards)?;
    Ok((Hsm::open(module, name, &secret)?, secret))
}

impl Meeting<'_> {
    /// Signs a manifest with the newest release key: its COSE_Sign1.
    ///
    /// # Errors
    /// [`CeremonyError`] when the HSM does not sign with the key that the root names.
    pub fn sign_manifest(&self, payload: &[u8]) -> Result<Vec<u8>, CeremonyError> {
        let slot = self.folder.root.release_keys.iter().rev().find(|slot| !slot.revoked);
        let key = &slot.ok_or(CeremonyError::NoKeyPlace)?.key;
        let id = self.folder.state.key_id(&key.spki_hash().to_string()).ok_or(CeremonyError::NoKeyPlace)?;
        Ok(self.hsm.sign_manifest(&id, key, payload)?)
    }

    /// Has the HSM make another release key, for the next root.
    ///
    /// # Errors
    /// [`CeremonyError`] when it refuses.
    pub fn make_release_key(&mut self, watch: &mut dyn FnMut(Step)) -> Result<ReleaseKey, CeremonyError> {
        watch(Step::MakesReleaseKey);
        let (id, key) = self.hsm.make_release_key()?;
        self.folder.state.keys.push(place(&key, id.to_string()));
        self.folder.save()?;
        Ok(key)
    }

    /// Signs and keeps the next root, with the cards that are there and `new_cards`, and seals new secrets to its custodians.
    ///
    /// At each moment the custodians of the root in force can open the HSM, so that a cut locks nobody out: those of the next one get the
    /// secrets that it has before their root counts, and new secrets, which whoever left cannot have, afterwards.
    ///
    /// # Errors
    /// [`CeremonyError`]; until the root is kept, nothing has changed.
    pub fn change_root(
        mut self,
        root: &RootContent,
        new_cards: &[Card],
        watch: &mut dyn FnMut(Step),
    ) -> Result<Self, CeremonyError> {
        check_present(&self.folder.root, self.cards, self.folder.root.root_needed)?;
        let mut draft = Draft::of_root(root)?;
        let is_new =
            |card: &&Card| !self.cards.iter().any(|known| known.custodian().signing == card.custodian().signing);
        let signers: Vec<&Card> = self.cards.iter().chain(new_cards.iter().filter(is_new)).collect();
        // A root counts only if enough of its own custodians have signed it as well.
        let present = signers.iter().filter(|card| root.custodians.contains(card.custodian())).count();
        if present < root.root_needed {
            return Err(CeremonyError::TooFew { present, needed: root.root_needed });
        }
        for card in signers {
            sign_draft(&mut draft, card, watch)?;
        }
        let (meeting, officer) = self.settle_security_officer()?;
        self = meeting;
        let State { user, security_officer, .. } = &mut self.folder.state;
        user.next = Some(SealedSecret::deal(LoginOf::User, &self.secret, root.release_needed, &root.custodians)?);
        let sealed = SealedSecret::deal(LoginOf::SecurityOfficer, &officer, root.root_needed, &root.custodians)?;
        security_officer.next = Some(sealed);
        self.folder.save()?;
        watch(Step::SealsToNext);
        self.folder.add_root(draft.to_json())?;
        watch(Step::InForce(root.version));
        let State { user, security_officer, .. } = &mut self.folder.state;
        user.go_on();
        security_officer.go_on();
        self.replace_user_secret(watch)?;
        self.replace_so_secret(&officer, watch)
    }

    /// The security officer's secret, and the HSM certain to have it: a cut may have fallen while it was replaced.
    fn settle_security_officer(self) -> Result<(Self, Secret), CeremonyError> {
        let Meeting { folder, cards, mut hsm, secret } = self;
        let open = |sealed: &SealedSecret| sealed.open(LoginOf::SecurityOfficer, cards);
        let Login { current, next } = &folder.state.security_officer;
        let opened = next.as_ref().and_then(|next| open(next).ok().map(|officer| (next, officer)));
        let Some((next, officer)) = opened else {
            let officer = open(current)?;
            return Ok((Meeting { folder, cards, hsm, secret }, officer));
        };
        if !next.is_same_secret(current) {
            let either: Vec<Secret> = [officer.clone()].into_iter().chain(open(current).ok()).collect();
            hsm = hsm.change_so_secret(&either, &officer, &secret)?;
        }
        let (of, root) = (LoginOf::SecurityOfficer, &folder.root);
        folder.state.security_officer.settle(of, &officer, root.root_needed, &root.custodians)?;
        Ok((Meeting { folder, cards, hsm, secret }, officer))
    }

    fn replace_so_secret(self, old: &Secret, watch: &mut dyn FnMut(Step)) -> Result<Self, CeremonyError> {
        let Meeting { folder, cards, hsm, secret } = self;
        let new = new_secret();
        let root = &folder.root;
        let sealed = SealedSecret::deal(LoginOf::SecurityOfficer, &new, root.root_needed, &root.custodians)?;
        folder.state.security_officer.next = Some(sealed);
        folder.save()?;
        watch(Step::ReplacesSecret);
        let hsm = hsm.change_so_secret(std::slice::from_ref(old), &new, &secret)?;
        folder.state.security_officer.go_on();
        folder.save()?;
        Ok(Meeting { folder, cards, hsm, secret })
    }

    fn replace_user_secret(&mut self, watch: &mut dyn FnMut(Step)) -> Result<(), CeremonyError> {
        let new = new_secret();
        let root = &self.folder.root;
        let sealed = SealedSecret::deal(LoginOf::User, &new, root.release_needed, &root.custodians)?;
        self.folder.state.user.next = Some(sealed);
        self.folder.save()?;
        watch(Step::ReplacesSecret);
        self.hsm.change_user_secret(&self.secret, &new)?;
        self.secret = new;
        self.folder.state.user.go_on();
        Ok(self.folder.save()?)
    }

    /// Notes that this release was signed under these targets.
    ///
    /// # Errors
    /// [`CeremonyError`] when the disk refuses.
    pub fn note_signed(&mut self, targets_version: u64, release: LastRelease) -> Result<(), CeremonyError> {
        self.folder.state.targets_version = targets_version;
        self.folder.state.last = Some(release);
        Ok(self.folder.save()?)
    }

    /// Replaces the secret and writes the record, first of the roots whose meetings were cut off before they were in it.
    ///
    /// # Errors
    /// [`CeremonyError`] when a card or the HSM refuses.
    pub fn close(
        mut self,
        act: Act,
        circumstances: Circumstances,
        watch: &mut dyn FnMut(Step),
    ) -> Result<(), CeremonyError> {
        self.replace_user_secret(watch)?;
        for missed in unrecorded(self.folder, &act)? {
            write_record(self.folder, missed, self.cards, circumstances.clone(), watch)?;
        }
        write_record(self.folder, act, self.cards, circumstances, watch)
    }
}

/// The changes of the root that the record does not have, but for the one of this act.
fn unrecorded(folder: &Folder, act: &Act) -> Result<Vec<Act>, CeremonyError> {
    let recorded = recorded_root(&folder.records()?);
    let roots = folder.roots.iter().map(|file| RootContent::from_file(file)).collect::<Result<Vec<_>, _>>()?;
    let changed = roots.iter().zip(roots.iter().skip(1)).map(|(before, after)| {
        let mut changes = changes(before, after);
        changes.push("it was signed in a meeting before this one, which was cut off".to_owned());
        (after.version, Act::Changed { root_version: after.version, changes })
    });
    let is_of_act = |version| matches!(act, Act::Changed { root_version, .. } if *root_version == version);
    let missed = changed.filter(|(version, _)| *version > recorded && !is_of_act(*version));
    Ok(missed.map(|(_, act)| act).collect())
}

fn place(key: &ReleaseKey, id: String) -> KeyPlace {
    KeyPlace { spki_sha256: key.spki_hash().to_string(), id }
}

fn sign_root(root: &RootContent, cards: &[Card], watch: &mut dyn FnMut(Step)) -> Result<Vec<u8>, CeremonyError> {
    let mut draft = Draft::of_root(root)?;
    for card in cards {
        sign_draft(&mut draft, card, watch)?;
    }
    Ok(draft.to_json())
}

/// Adds a card's signature to metadata.
///
/// # Errors
/// [`CeremonyError`] when the card refuses.
pub fn sign_draft(draft: &mut Draft, card: &Card, watch: &mut dyn FnMut(Step)) -> Result<(), CeremonyError> {
    let Custodian { name, signing, .. } = card.custodian();
    watch(Step::SignsRoot(name.clone()));
    let signature =
        card.sign(draft.to_be_signed()).map_err(|source| LoginError::Card { custodian: name.clone(), source })?;
    let signature = signature.as_slice().try_into().map_err(|_| DraftError::BadSignature)?;
    Ok(draft.sign(signing, signature)?)
}

fn refuse_same_cards(cards: &[Card]) -> Result<(), CeremonyError> {
    for (at, card) in cards.iter().enumerate() {
        let same = |earlier: &&Card| earlier.custodian().signing == card.custodian().signing;
        if let Some(earlier) = cards.iter().take(at).find(same) {
            let name = |card: &Card| card.custodian().name.clone();
            return Err(CeremonyError::SameCard(name(earlier), name(card)));
        }
    }
    Ok(())
}

/// Whether these are cards of so many of the root's custodians.
fn check_present(root: &RootContent, cards: &[Card], needed: usize) -> Result<(), CeremonyError> {
    refuse_same_cards(cards)?;
    if let Some(card) = cards.iter().find(|card| !root.custodians.contains(card.custodian())) {
        return Err(CeremonyError::Stranger(card.custodian().name.clone()));
    }
    let present = cards.len();
    if present < needed { Err(CeremonyError::TooFew { present, needed }) } else { Ok(()) }
}

fn write_record(
    folder: &mut Folder,
    act: Act,
    cards: &[Card],
    circumstances: Circumstances,
    watch: &mut dyn FnMut(Step),
) -> Result<(), CeremonyError> {
    let before = folder.records()?;
    let entry = Entry {
        number: before.len() + 1,
        previous: before.last().map(|file| hash(file)),
        unix_ms: circumstances.unix_ms,
        note: circumstances.note,
        present: cards.iter().map(|card| card.custodian().name.clone()).collect(),
        hsm: folder.state.hsm.clone(),
        act,
    };
    for card in cards {
        watch(Step::SignsRecord(card.custodian().name.clone()));
    }
    let number = entry.number;
    let file = entry.sign(cards)?;
    Ok(folder.add_record(number, &file)?)
}

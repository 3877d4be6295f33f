//! A release on its way: the encrypted images, their manifests, the approvals as they come in, the signatures, in one folder.
//!
//! The folder is not secret, and nothing in it is believed: who approves compares the images with the manifests, and the
//! last step verifies all of it before a bundle is written. Content keys are in it sealed to the server alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keys::hashes::{Sha256, sha256};
use keys::private_file::{self, Existing, PrivateFileError};
use keys::public::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AssembleError, CHUNK_LOG2, Delegation, Draft, DraftError, Encryptor, Quorum, TargetsSpec, assemble,
    seal_content_key,
};
use crate::approval::Approval;
use crate::apps::SERVER_ROLE;
use crate::bundle::{Bundle, BundleError, BundleImage, Report};
use crate::limits::LIMITS;
use crate::manifest::{Description, Manifest, ManifestError};
use crate::root::{RootContent, RootError, from_key_object, from_time, key_id, wrong};

const FORMAT: u32 = 1;
const FACTS_FILE: &str = "release.json";
const TARGETS_FILE: &str = "targets.json";
const APPROVALS_FOLDER: &str = "approvals";

/// One image to build.
#[derive(Debug, Clone)]
pub struct Source {
    /// The program that devices will boot.
    pub file: PathBuf,
    /// What its manifest says.
    pub description: Description,
}

/// What holds for the whole release.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The version of the targets: one more than those approved last.
    pub targets_version: u64,
    /// Until when the approval holds: seconds since 1970.
    pub expires: i64,
    /// The server's key that content keys are sealed to.
    pub release_wrap: &'a PublicKey,
    /// Who signs apps.
    pub apps: Vec<Delegation>,
    /// Manifests of releases before that stay approved.
    pub kept: Vec<Manifest>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    format: u32,
    /// The sealed content key of each image, in base64.
    content_keys: Vec<String>,
    /// How many manifests of releases before are kept.
    #[serde(default)]
    kept: usize,
}

/// One custodian's approval, in a file of its own so that it can be made on any machine and carried over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalFile {
    /// What they say of it, signed: a COSE_Sign1 in base64.
    approval: String,
    metadata: Value,
}

/// How a custodian approved, whose key was seen to have signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedApproval {
    /// What they said.
    pub said: Approval,
    /// The COSE_Sign1 of it.
    signed: Vec<u8>,
}

/// The folder of a release, read.
#[derive(Debug)]
pub struct Pending {
    dir: PathBuf,
    facts: Facts,
    /// In the order of their files.
    pub manifests: Vec<Manifest>,
    /// Those of releases before that stay approved.
    pub kept: Vec<Manifest>,
    /// What the custodians sign.
    pub targets: Draft,
}

/// Why a release is not built, approved, signed or assembled.
#[derive(Debug, thiserror::Error)]
pub enum PendingError {
    /// The folder is not empty.
    #[error("{0} is not an empty folder; choose a new one")]
    NotEmpty(PathBuf),
    /// A file is not what this program writes.
    #[error("{file}: {why}; build the release again, or take the folder from a copy")]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk refused.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file cannot be written whole.
    #[error(transparent)]
    Write(#[from] PrivateFileError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The metadata.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The encryption.
    #[error("{file}: {why}")]
    Encrypt {
        /// The image.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// An encrypted image or a plain one is another than the manifest's.
    #[error("{file} is not the image of the manifest for {}: its hash is {found}", .models.join(", "))]
    OtherImage {
        /// The file.
        file: PathBuf,
        /// The manifest's models.
        models: Vec<String>,
        /// SHA-256 of the file, in hex.
        found: String,
    },
    /// The custodians sign something else than these manifests.
    #[error("the metadata to approve are not those of the manifests in this folder; nothing was signed")]
    OtherTargets,
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The last step.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
}

impl Pending {
    /// Encrypts the images into a new folder and writes what is to be approved. `watch` is told how many bytes of which image
    /// are done.
    ///
    /// # Errors
    /// [`PendingError`]; then the folder is of no use.
    pub fn build(
        dir: &Path,
        plan: &Plan<'_>,
        sources: &[Source],
        watch: &mut dyn FnMut(usize, u64),
    ) -> Result<Pending, PendingError> {
        if dir.exists() && fs::read_dir(dir).map_err(|source| io_error(dir, source))?.next().is_some() {
            return Err(PendingError::NotEmpty(dir.to_owned()));
        }
        let approvals = dir.join(APPROVALS_FOLDER);
        fs::create_dir_all(&approvals).map_err(|source| io_error(&approvals, source))?;
        let mut facts = Facts { format: FORMAT, content_keys: Vec::new(), kept: plan.kept.len() };
        let mut manifests = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let (manifest, content_key) = encrypt(dir, at, source, plan.release_wrap, watch)?;
            facts.content_keys.push(content_key);
            manifests.push(manifest);
        }
        for (at, manifest) in plan.kept.iter().enumerate() {
            write(&dir.join(kept_name(at)), &manifest.to_cbor())?;
        }
        let spec = TargetsSpec {
            version: plan.targets_version,
            expires: plan.expires,
            manifests: [&manifests[..], &plan.kept].concat(),
            apps: plan.apps.clone(),
        };
        let kept = plan.kept.clone();
        let pending = Pending { dir: dir.to_owned(), facts, manifests, kept, targets: spec.draft()? };
        write(&dir.join(TARGETS_FILE), &pending.targets.to_json())?;
        let text = serde_json::to_vec_pretty(&pending.facts);
        let facts_file = dir.join(FACTS_FILE);
        let text = text.map_err(|error| PendingError::Form { file: facts_file.clone(), why: error.to_string() })?;
        write(&facts_file, &text)?;
        Ok(pending)
    }

    /// Opens the folder of a release.
    ///
    /// # Errors
    /// [`PendingError`].
    pub fn open(dir: &Path) -> Result<Pending, PendingError> {
        let file = dir.join(FACTS_FILE);
        let form = |why: String| PendingError::Form { file: file.clone(), why };
        let facts: Facts =
            serde_json::from_slice(&read(&file, LIMITS.metadata)?).map_err(|error| form(error.to_string()))?;
        if facts.format != FORMAT || !(1..=LIMITS.bundle_images).contains(&facts.content_keys.len()) {
            return Err(form("it is of another format, or has too many images".to_owned()));
        }
        let manifest = |name| Ok(Manifest::from_cbor(&read(&dir.join::<String>(name), LIMITS.manifest)?)?);
        let manifests = (0..facts.content_keys.len()).map(manifest_name).map(manifest);
        let manifests = manifests.collect::<Result<Vec<_>, PendingError>>()?;
        let kept = (0..facts.kept).map(kept_name).map(manifest).collect::<Result<Vec<_>, PendingError>>()?;
        let targets = Draft::from_json(&read(&dir.join(TARGETS_FILE), LIMITS.targets)?)?;
        Ok(Pending { dir: dir.to_owned(), facts, manifests, kept, targets })
    }

    /// Compares every encrypted image with its manifest, and the metadata with what these manifests make of them: nothing else may be
    /// signed with them. Gives what they say.
    ///
    /// # Errors
    /// [`PendingError`] for the first that differs: nobody should sign then.
    pub fn check(&self) -> Result<TargetsSpec, PendingError> {
        let spec = read_targets(self.targets.content(), [&self.manifests[..], &self.kept].concat()).ok();
        let spec =
            spec.filter(|spec| spec.draft().is_ok_and(|same| same.to_be_signed() == self.targets.to_be_signed()));
        let spec = spec.ok_or(PendingError::OtherTargets)?;
        for (at, manifest) in self.manifests.iter().enumerate() {
            compare(&self.image(at), &manifest.models, &manifest.sealed.sha256)?;
        }
        Ok(spec)
    }

    /// Compares a plain image, as somebody has built it, with the manifest for this model.
    ///
    /// # Errors
    /// [`PendingError::OtherImage`] when it is another one.
    pub fn compare_build(&self, model: &str, file: &Path) -> Result<(), PendingError> {
        let manifest = self.manifests.iter().find(|manifest| manifest.models.iter().any(|known| known == model));
        let why =
            || PendingError::Form { file: file.to_owned(), why: format!("the release has no image for {model:?}") };
        let manifest = manifest.ok_or_else(why)?;
        compare(file, &manifest.models, &manifest.plain.sha256)
    }

    /// Keeps an approval with the two signatures of this custodian's card, r and s: over what they say, and over the metadata.
    ///
    /// # Errors
    /// [`PendingError::Draft`] when the signature is not by this key over these metadata.
    pub fn approve(&self, approval: &Approval, key: &PublicKey, signatures: [&[u8]; 2]) -> Result<(), PendingError> {
        let [said, signature] = signatures.map(|signature| signature.try_into().map_err(|_| DraftError::BadSignature));
        let mut signed = self.targets.clone();
        signed.sign(key, signature?)?;
        let file = self.dir.join(APPROVALS_FOLDER).join(format!("{}.json", const_hex::encode(sha256(key.spki_der()))));
        let form = |error: serde_json::Error| PendingError::Form { file: file.clone(), why: error.to_string() };
        let metadata = serde_json::from_slice(&signed.to_json()).map_err(form)?;
        let approval = BASE64.encode(approval.assemble(*said?));
        let text = serde_json::to_vec_pretty(&ApprovalFile { approval, metadata }).map_err(form)?;
        write(&file, &text)
    }

    /// The approvals in the folder, as their cards signed them, by the names of the custodians of this root whose keys signed them, and the metadata with all of them.
    ///
    /// # Errors
    /// [`PendingError`] when a file is no approval of this release, or not by one and the same card.
    pub fn approvals(&self, root: &[u8]) -> Result<(Vec<SignedApproval>, Draft), PendingError> {
        let folder = self.dir.join(APPROVALS_FOLDER);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(|source| io_error(&folder, source))? {
            let path = entry.map_err(|source| io_error(&folder, source))?.path();
            files.insert(path.clone(), read(&path, LIMITS.targets)?);
        }
        let content = RootContent::from_file(root).map_err(DraftError::from)?;
        let mut approvals: BTreeMap<String, SignedApproval> = BTreeMap::new();
        let mut all = self.targets.clone();
        for (file, bytes) in files {
            let form = |why: String| PendingError::Form { file: file.clone(), why };
            let ApprovalFile { approval, metadata } =
                serde_json::from_slice(&bytes).map_err(|error| form(error.to_string()))?;
            let mut alone = self.targets.clone();
            alone.merge(Draft::from_json(metadata.to_string().as_bytes())?)?;
            let signed = BASE64.decode(approval).map_err(|error| form(error.to_string()))?;
            let (said, custodian) = Approval::verify(&content, self.targets.to_be_signed(), &signed)
                .map_err(|error| form(error.to_string()))?;
            let signers = alone.progress(root, "targets")?.signed;
            let name = custodian.name.clone();
            if signers != [key_id(&custodian.signing).map_err(DraftError::from)?] {
                return Err(form(format!("the metadata are not signed by {name}, or not by {name} alone")));
            }
            all.merge(alone)?;
            if approvals.insert(name.clone(), SignedApproval { said, signed }).is_some() {
                return Err(form(format!("another file holds the approval of {name} as well")));
            }
        }
        Ok((approvals.into_values().collect(), all))
    }

    /// Keeps the COSE_Sign1 of a manifest.
    ///
    /// # Errors
    /// [`PendingError`] when the disk refuses.
    pub fn keep_signed(&self, at: usize, cose: &[u8]) -> Result<(), PendingError> {
        write(&self.dir.join(signed_name(at)), cose)
    }

    /// Verifies everything and writes the bundle.
    ///
    /// # Errors
    /// [`PendingError`]; then nothing is written.
    pub fn assemble(&self, roots: Vec<Vec<u8>>, out: &Path) -> Result<Report, PendingError> {
        let first = roots.first().cloned().unwrap_or_default();
        let newest = roots.last().cloned().unwrap_or_default();
        let (approvals, targets) = self.approvals(&newest)?;
        let mut images = Vec::new();
        let mut files = Vec::new();
        for (at, content_key) in self.facts.content_keys.iter().enumerate() {
            let file = self.dir.join(FACTS_FILE);
            let key = BASE64.decode(content_key);
            let key = key.map_err(|_| PendingError::Form { file, why: "a content key is not in base64".to_owned() })?;
            let signed = read(&self.dir.join(signed_name(at)), 2 * LIMITS.manifest)?;
            images.push(BundleImage::new(signed, key, None)?);
            let file = self.image(at);
            files.push(File::open(&file).map_err(|source| io_error(&file, source))?);
        }
        let bundle = Bundle::new(
            roots,
            targets.to_json(),
            approvals.into_iter().map(|approval| approval.signed).collect(),
            images,
        )?;
        // Under another name until it is whole, so that a bundle that stopped half-way is none.
        let unfinished = out.with_extension("unfinished");
        let file = File::create(&unfinished).map_err(|source| io_error(&unfinished, source))?;
        let mut writer = BufWriter::new(file);
        let report = assemble(&bundle, &first, &mut files, &mut writer);
        let written = report.map_err(PendingError::from).and_then(|report| {
            let synced = writer.flush().and_then(|()| writer.get_ref().sync_all());
            synced.and_then(|()| fs::rename(&unfinished, out)).map_err(|source| io_error(out, source))?;
            Ok(report)
        });
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn image(&self, at: usize) -> PathBuf {
        self.dir.join(image_name(at))
    }
}

fn encrypt(
    dir: &Path,
    at: usize,
    source: &Source,
    release_wrap: &PublicKey,
    watch: &mut dyn FnMut(usize, u64),
) -> Result<(Manifest, String), PendingError> {
    let from = |error| io_error(&source.file, error);
    let wrong = |why: String| PendingError::Encrypt { file: source.file.clone(), why };
    let plain = File::open(&source.file).map_err(from)?;
    let length = plain.metadata().map_err(from)?.len();
    let mut encryptor = Encryptor::new(length)?;
    let path = dir.join(image_name(at));
    let to = |error| io_error(&path, error);
    let mut sealed = BufWriter::new(File::create(&path).map_err(to)?);
    sealed.write_all(&encryptor.header().to_bytes()).map_err(to)?;
    let mut plain = BufReader::new(plain);
    let mut chunk = vec![0; 1 << CHUNK_LOG2];
    let mut done = 0;
    while done < length {
        let wanted = chunk.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        plain.read_exact(part).map_err(from)?;
        sealed.write_all(encryptor.seal(part).map_err(|error| wrong(error.to_string()))?).map_err(to)?;
        done += wanted as u64;
        watch(at, done);
    }
    if plain.read(&mut [0]).map_err(from)? != 0 {
        return Err(wrong("it grew while it was read".to_owned()));
    }
    sealed.flush().and_then(|()| sealed.get_ref().sync_all()).map_err(to)?;
    let built = encryptor.finish(source.description.clone())?;
    let key = seal_content_key(&built.content_key, built.manifest.hash(), release_wrap);
    let key = key.map_err(|error| wrong(error.to_string()))?;
    write(&dir.join(manifest_name(at)), &built.manifest.to_cbor())?;
    Ok((built.manifest, BASE64.encode(key.as_bytes())))
}

/// What targets say that approve these manifests. Whether they say nothing else is seen by making them again.
fn read_targets(signed: &Value, manifests: Vec<Manifest>) -> Result<TargetsSpec, RootError> {
    let version = signed["version"].as_u64().ok_or_else(|| wrong("the targets have no version"))?;
    let delegations = &signed["delegations"];
    let mut apps = Vec::new();
    for role in delegations["roles"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let ids = role["keyids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let key = |id: &Value| from_key_object(&delegations["keys"][id.as_str().unwrap_or_default()]);
        let keys = ids.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let threshold = role["threshold"].as_u64().and_then(|threshold| usize::try_from(threshold).ok());
        let quorum = Quorum { keys, threshold: threshold.ok_or_else(|| wrong("a role for apps has no threshold"))? };
        apps.push(match role["name"].as_str().unwrap_or_default() {
            SERVER_ROLE => {
                let [key] = &quorum.keys[..] else { return Err(wrong("the server's role for apps has one key")) };
                Delegation::Server { key: key.clone() }
            }
            name => {
                let owner = name.strip_prefix("apps-").ok_or_else(|| wrong("a role is not one for apps"))?;
                Delegation::Owner { owner: owner.to_owned(), quorum }
            }
        });
    }
    Ok(TargetsSpec { version, expires: from_time(&signed["expires"])?, manifests, apps })
}

fn compare(file: &Path, models: &[String], expected: &[u8; 32]) -> Result<(), PendingError> {
    let mut reader = File::open(file).map_err(|source| io_error(file, source))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << CHUNK_LOG2]);
    loop {
        let read = reader.read(&mut buffer).map_err(|source| io_error(file, source))?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    let found = hash.finish();
    if found == *expected {
        return Ok(());
    }
    Err(PendingError::OtherImage { file: file.to_owned(), models: models.to_vec(), found: const_hex::encode(found) })
}

fn image_name(at: usize) -> String {
    format!("{at}.image")
}

fn manifest_name(at: usize) -> String {
    format!("{at}.manifest")
}

fn kept_name(at: usize) -> String {
    format!("kept-{at}.manifest")
}

fn signed_name(at: usize) -> String {
    format!("{at}.manifest.signed")
}

fn io_error(file: &Path, source: io::Error) -> PendingError {
    PendingError::Io { file: file.to_owned(), source }
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), PendingError> {
    Ok(private_file::write(file, bytes, Existing::Replace)?)
}

fn read(file: &Path, most: usize) -> Result<Vec<u8>, PendingError> {
    let length = fs::metadata(file).map_err(|source| io_error(file, source))?.len();
    if length > most as u64 {
        let why = format!("it has {length} bytes, at most {most} are read");
        return Err(PendingError::Form { file: file.to_owned(), why });
    }
    fs::read(file).map_err(|source| io_error(file, source))
}

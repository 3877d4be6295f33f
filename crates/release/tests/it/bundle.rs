//! The bundle of a release: written only when all of it is right, read a model at a time, and refused when anything is not.

use std::io::{Cursor, Read, Seek, SeekFrom};

use keys::content_key::{WrappedContentKey, unwrap};
use keys::metadata;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use release::approval::Approval;
use release::author::{AssembleError, assemble, seal_content_key, sealed_for};
use release::bundle::{Bundle, BundleError, BundleImage, MAGIC, Report, ReportError, verify_bundle, verify_head};
use release::limits::LIMITS;
use release::version::OsVersion;

use crate::fixture::{Signed, description, program, release_keys, signed};
use crate::repository::{Site, date, signed_by};

/// Two images of one release.
fn images() -> [Signed; 2] {
    [("hall-1", 70_000), ("roof-1", 200)].map(|(model, length)| {
        let mut description = description();
        description.models = vec![model.into()];
        signed(program(length), description)
    })
}

fn server() -> Signer {
    Signer::generate(KeyPurpose::ReleaseWrap).unwrap()
}

/// The head of the bundle of these images, approved by these cards.
fn head(site: &Site, images: &[Signed], cards: &[usize], server: &Signer) -> Bundle {
    let signers: Vec<&Signer> = cards.iter().map(|at| &site.cards[*at]).collect();
    let targets = signed_by(site.targets.draft().unwrap(), &signers).to_json();
    let image = |image: &Signed| {
        let key = seal_content_key(&image.content_key, image.manifest.hash(), server.public()).unwrap();
        BundleImage::new(image.cose.clone(), key.as_bytes().to_vec(), None).unwrap()
    };
    Bundle::new(site.roots.clone(), targets, vec![], images.iter().map(image).collect()).unwrap()
}

fn files(images: &[Signed]) -> Vec<Cursor<Vec<u8>>> {
    images.iter().map(|image| Cursor::new(image.sealed.clone())).collect()
}

fn assembled(site: &Site, images: &[Signed], cards: &[usize]) -> Result<(Vec<u8>, Report), AssembleError> {
    let (mut out, bundle) = (Vec::new(), head(site, images, cards, &server()));
    let result = assemble(&bundle, &site.roots[0], &mut files(images), &mut out);
    assert_eq!(result.is_err(), out.is_empty(), "nothing is written when anything is wrong");
    result.map(|report| (out, report))
}

fn site(images: &[Signed]) -> Site {
    let mut site = Site::new();
    site.approve(&images.iter().map(|image| &image.manifest).collect::<Vec<_>>());
    site
}

#[test]
fn anybody_can_tell_offline_who_signed_what_for_which_models() {
    let images = images();
    let site = site(&images);
    let (file, report) = assembled(&site, &images, &[0, 2]).unwrap();
    let (bundle, again) = verify_bundle(&mut &file[..], Some(&site.roots[0])).unwrap();
    assert_eq!(report, again);
    assert_eq!(verify_bundle(&mut &file[..], None).unwrap().1, report);
    assert_eq!(report.approved_by, ["ada", "cleo"]);
    assert_eq!((report.needed, report.root_version, report.targets_version), (2, 1, 2));
    assert_eq!((&*report.product, report.version, report.expires), ("Thermostat", OsVersion::new(1, 4, 0), date(300)));
    assert_eq!(report.images.len(), 2);
    assert_eq!(report.images[1].description.models, ["roof-1"]);
    assert_eq!(report.images[1].signed_by, release_keys()[0].public().spki_hash());
    assert_eq!(report.images[0].manifest, images[0].manifest.hash());
    assert_eq!(bundle.length(), file.len() as u64);
}

#[test]
fn the_image_of_one_model_is_read_without_the_others_and_opened_by_the_server_alone() {
    let images = images();
    let (site, server) = (site(&images), server());
    let (mut out, bundle) = (Vec::new(), head(&site, &images, &[0, 1], &server));
    assemble(&bundle, &site.roots[0], &mut files(&images), &mut out).unwrap();
    let mut file = Cursor::new(out);
    let bundle = Bundle::read(&mut file).unwrap();
    let at = bundle.find("roof-1").unwrap();
    assert_eq!((at, bundle.find("cellar-1"), bundle.place(2)), (1, None, None));
    let (start, length) = bundle.place(at).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    let mut sealed = Vec::new();
    file.take(length).read_to_end(&mut sealed).unwrap();
    assert!(sealed == images[1].sealed);

    let wrapped = WrappedContentKey::from_bytes(&bundle.images[at].content_key).unwrap();
    let info = sealed_for(images[1].manifest.hash(), server.public().spki_hash());
    assert_eq!(*unwrap(&server, &wrapped, &info).unwrap(), *images[1].content_key.expose());
    let other = sealed_for(images[0].manifest.hash(), server.public().spki_hash());
    assert!(unwrap(&server, &wrapped, &other).is_err(), "for another image");
    assert!(unwrap(&self::server(), &wrapped, &info).is_err(), "for another server");
}

#[test]
fn too_few_approvals_write_nothing() {
    let images = images();
    let site = site(&images);
    assert!(matches!(assembled(&site, &images, &[0]), Err(AssembleError::Refused(ReportError::NotApproved(_)))));
    assert!(assembled(&site, &images, &[0, 1, 2]).is_ok());
}

#[test]
fn an_image_that_was_not_approved_or_not_signed_writes_nothing() {
    let mut images = images();
    let site = site(&images[..1]);
    let refused = assembled(&site, &images, &[0, 1]);
    assert!(
        matches!(refused, Err(AssembleError::Refused(ReportError::ImageNotApproved(models))) if models == ["roof-1"])
    );
    let site = self::site(&images);
    images[1].cose = release_keys()[1].sign_manifest(&images[1].manifest.to_cbor()).unwrap();
    let refused = assembled(&site, &images, &[0, 1]);
    assert!(
        matches!(refused, Err(AssembleError::Refused(ReportError::ImageNotSigned(models))) if models == ["roof-1"])
    );
}

#[test]
fn an_encrypted_image_that_is_another_one_writes_nothing() {
    let mut images = images();
    let site = site(&images);
    let good = images[0].sealed.clone();
    let flipped = {
        let mut sealed = good.clone();
        *sealed.last_mut().unwrap() ^= 1;
        sealed
    };
    for sealed in [flipped, good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat()] {
        images[0].sealed = sealed;
        let refused = assembled(&site, &images, &[0, 1]);
        assert!(matches!(refused, Err(AssembleError::Refused(ReportError::OtherImage(_)))));
    }
    let (mut out, bundle) = (Vec::new(), head(&site, &images, &[0, 1], &server()));
    let refused = assemble(&bundle, &site.roots[0], &mut files(&images[..1]), &mut out);
    assert!(matches!(refused, Err(AssembleError::Files { images: 2, files: 1 })));
}

#[test]
fn a_bundle_is_one_release() {
    let mut images = images();
    let mut newer = description();
    (newer.models, newer.version) = (vec!["roof-1".into()], OsVersion::new(1, 4, 1));
    images[1] = signed(program(10), newer);
    let refused = assembled(&site(&images), &images, &[0, 1]);
    assert!(matches!(refused, Err(AssembleError::Refused(ReportError::NotOneRelease))), "two versions");
    let mut same = description();
    same.models = vec!["hall-1".into()];
    images[1] = signed(program(10), same);
    let refused = assembled(&site(&images), &images, &[0, 1]);
    assert!(matches!(refused, Err(AssembleError::Refused(ReportError::NotOneRelease))), "two images for one model");
}

/// What this card says of how these targets were approved.
fn said(card: &Signer, name: &str, targets: &[u8]) -> Vec<u8> {
    let approval = Approval::new(name, true, 7, targets);
    let der = metadata::sign(card, &approval.to_be_signed()).unwrap();
    let (r, s) = der[4..].split_at(der[3].into());
    let half = |digits: &[u8]| [vec![0; 32], digits.to_vec()].concat().split_off(digits.len());
    approval.assemble([half(r), half(&s[2..])].concat().try_into().unwrap())
}

#[test]
fn how_a_release_was_approved_is_said_by_those_who_approved_it() {
    let images = images();
    let site = site(&images);
    let draft = site.targets.draft().unwrap();
    let verify = |approvals: &[Vec<u8>]| {
        let Bundle { roots, targets, images, .. } = head(&site, &images, &[0, 2], &server());
        let bundle = Bundle::new(roots, targets, approvals.to_vec(), images).unwrap();
        assert_eq!(Bundle::read(&mut &bundle.head()[..]).unwrap(), bundle);
        verify_head(&bundle, None).map(|report| report.approvals)
    };
    let of = |at: usize, name| said(&site.cards[at], name, draft.to_be_signed());
    let ada = Approval::new("ada", true, 7, draft.to_be_signed());
    assert_eq!(verify(&[of(0, "ada")]).unwrap(), [ada]);
    assert_eq!(verify(&[of(2, "cleo"), of(0, "ada")]).unwrap().len(), 2);
    // Said twice, by somebody who did not sign the targets, in another's name, of other targets.
    let of_others = said(&site.cards[0], "ada", b"other targets");
    for wrong in [vec![of(0, "ada"), of(0, "ada")], vec![of(1, "ben")], vec![of(2, "ada")], vec![of_others]] {
        assert!(matches!(verify(&wrong), Err(ReportError::Approval(_))));
    }
}

#[test]
fn a_bundle_of_another_maker_is_told_apart() {
    let images = images();
    let (site, stranger) = (site(&images), site(&images));
    let (file, _) = assembled(&stranger, &images, &[0, 1]).unwrap();
    assert!(matches!(verify_bundle(&mut &file[..], Some(&site.roots[0])), Err(ReportError::OtherRoot)));
}

#[test]
fn a_flipped_bit_truncation_and_trailing_bytes_are_refused() {
    let images = images();
    let site = site(&images);
    let (file, _) = assembled(&site, &images, &[0, 1]).unwrap();
    let refused = |file: &[u8]| verify_bundle(&mut &*file, Some(&site.roots[0])).map(|_| ()).unwrap_err();
    // A sealed content key may be changed: then it does not open. All else is signed.
    let sealed = Bundle::read(&mut &file[..]).unwrap().images[0].content_key.clone();
    let key_at = file.windows(sealed.len()).position(|window| window == sealed).unwrap();
    for at in (0..file.len()).step_by(397) {
        if (key_at..key_at + sealed.len()).contains(&at) {
            continue;
        }
        let mut flipped = file.clone();
        flipped[at] ^= 1;
        let second = key_of(&flipped, 1) != key_of(&file, 1);
        assert!(second || verify_bundle(&mut &flipped[..], Some(&site.roots[0])).is_err(), "byte {at}");
    }
    for length in (0..file.len()).step_by(4001).chain([file.len() - 1]) {
        refused(&file[..length]);
    }
    assert!(matches!(refused(&[&file[..], &[0]].concat()), ReportError::Trailing));
}

fn key_of(mut file: &[u8], at: usize) -> Option<Vec<u8>> {
    Bundle::read(&mut file).ok().map(|bundle| bundle.images[at].content_key.clone())
}

#[test]
fn the_head_is_bounded_before_it_is_read() {
    let too_long = u32::try_from(LIMITS.bundle_head + 1).unwrap().to_be_bytes();
    let read = |bytes: &[u8]| Bundle::read(&mut &*bytes).unwrap_err();
    assert!(matches!(read(&[&MAGIC[..], &too_long].concat()), BundleError::TooLong { .. }));
    let most = u32::try_from(LIMITS.bundle_head).unwrap().to_be_bytes();
    assert!(matches!(read(&[&MAGIC[..], &most].concat()), BundleError::Read(_)));
    assert!(matches!(read(b"PK\x03\x04...."), BundleError::NotABundle));
    assert!(matches!(read(b""), BundleError::NotABundle));
    assert!(matches!(read(&[&MAGIC[..], &[0, 0, 0, 1], &[0xf6]].concat()), BundleError::Form(_)));

    let image = || BundleImage::new(images()[1].cose.clone(), vec![0; 97], None).unwrap();
    let of = |roots: usize, images: usize| {
        Bundle::new(vec![vec![1]; roots], vec![], vec![], vec![image(); images]).map(|_| ())
    };
    let said = |number: usize, length| {
        Bundle::new(vec![vec![1]], vec![], vec![vec![0; length]; number], vec![image()]).is_ok()
    };
    let most = keys::limits::LIMITS.quorum_people;
    assert!(said(most, 256) && !said(most + 1, 1) && !said(1, 257));
    assert!(of(1, 1).is_ok() && of(64, 64).is_ok());
    for (roots, images) in [(0, 1), (1, 0), (65, 1), (1, 65)] {
        assert!(matches!(of(roots, images), Err(BundleError::Bound(_))), "{roots} {images}");
    }
    let with = |key, proof| BundleImage::new(images()[1].cose.clone(), vec![0; key], Some(vec![0; proof])).is_ok();
    assert!(with(256, 16 * 1024) && !with(257, 1) && !with(97, 16 * 1024 + 1));
}

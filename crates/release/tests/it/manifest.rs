//! The one encoding of a manifest, and its bounds on both sides.

use keys::cbor::CborError;
use minicbor::bytes::ByteVec;
use proptest::prelude::*;
use release::manifest::{Content, Description, Manifest, ManifestError};

use crate::fixture::description;

fn content(length: u64, fill: u8) -> Content {
    Content { length, sha256: [fill; 32].into() }
}

fn with(description: Description) -> Result<Manifest, ManifestError> {
    Manifest::new(description, content(40 + 100 + 16, 0xc1), content(100, 0xa1), 16)
}

#[test]
fn the_encoding_is_the_one_of_image_cddl() {
    let bytes = with(description()).unwrap().to_cbor();
    // Checked by hand against docs/image.cddl; it is signed, so it must never change.
    let expected = "ab0001016a546865726d6f73746174028266\
        68616c6c2d316668616c6c2d32\
        03830104000403051a6ab13b80\
        068218\
        9c5820c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1\
        0782186458\
        20a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\
        080109100a58205b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b";
    assert_eq!(const_hex::encode(&bytes), expected);
    assert_eq!(Manifest::from_cbor(&bytes).unwrap().to_cbor(), bytes);
}

#[test]
fn too_short_trailing_and_other_encodings_are_refused() {
    let bytes = with(description()).unwrap().to_cbor();
    for length in 0..bytes.len() {
        assert!(Manifest::from_cbor(&bytes[..length]).is_err(), "{length}");
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(Manifest::from_cbor(&trailing), Err(ManifestError::Form(CborError::Trailing(1))));
    // An entry that this program does not know would otherwise be signed and unseen.
    let mut unknown = bytes.clone();
    unknown[0] += 1;
    unknown.extend([0x18, 0x63, 0x01]);
    assert_eq!(Manifest::from_cbor(&unknown), Err(ManifestError::Form(CborError::NotDeterministic)));
    let mut format = bytes.clone();
    format[2] = 2;
    assert_eq!(Manifest::from_cbor(&format), Err(ManifestError::Format(2)));
    let long = vec![0; release::limits::LIMITS.manifest + 1];
    assert_eq!(Manifest::from_cbor(&long), Err(ManifestError::TooLong));
    assert!(matches!(Manifest::from_cbor(&long[1..]), Err(ManifestError::Form(_))));
}

#[test]
fn names_and_models_have_bounds() {
    let product = |name: String| with(Description { product: name, ..description() }).is_ok();
    assert!(product("x".into()) && product("x".repeat(64)) && product("Wärmepumpe 2".into()));
    assert!(!product("".into()) && !product("x".repeat(65)) && !product("a\nb".into()) && !product(" a".into()));
    let models = |count: usize| {
        let models = (0..count).map(|at| format!("m-{at}")).collect();
        with(Description { models, ..description() }).is_ok()
    };
    assert!(models(1) && models(16));
    assert!(!models(0) && !models(17));
    assert!(with(Description { models: vec!["a".into(), "a".into()], ..description() }).is_err());
}

#[test]
fn lengths_have_bounds_and_belong_together() {
    let of = |sealed, plain, log2| Manifest::new(description(), content(sealed, 1), content(plain, 2), log2).is_ok();
    assert!(of(40 + 1 + 16, 1, 16) && of(40 + 65536 + 16, 65536, 16) && of(40 + 65537 + 32, 65537, 16));
    assert!(!of(40 + 16, 0, 16) && !of(40 + 65537 + 16, 65537, 16) && !of(0, 1, 16));
    let most: u64 = 256 << 20;
    assert!(of(40 + most + 4096 * 16, most, 16));
    assert!(!of(40 + most + 1 + 4097 * 16, most + 1, 16));
    assert!(of(57, 1, 12) && of(57, 1, 20));
    assert!(!of(57, 1, 11) && !of(57, 1, 21));
}

#[test]
fn deltas_are_skipped_by_those_who_know_none_and_are_bounded() {
    let with_deltas = |deltas: Vec<Vec<u8>>| {
        let mut manifest = with(description()).unwrap();
        manifest.deltas = Some(deltas.into_iter().map(ByteVec::from).collect());
        Manifest::from_cbor(&manifest.to_cbor()).is_ok()
    };
    assert!(with_deltas(vec![vec![1]]) && with_deltas(vec![vec![1; 256]; 8]));
    assert!(!with_deltas(vec![]) && !with_deltas(vec![vec![1]; 9]));
    assert!(!with_deltas(vec![vec![]]) && !with_deltas(vec![vec![1; 257]]));
}

proptest! {
    #[test]
    fn nothing_makes_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Manifest::from_cbor(&bytes);
        let _ = release::anchors::Anchors::from_cbor(&bytes);
    }
}

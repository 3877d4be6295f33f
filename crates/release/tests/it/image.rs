//! Encrypted images: decrypted as they arrive, and refused when a bit differs from what was signed.

use aead_stream::aead::Payload;
use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::Aes128Gcm;
use keys::chunks::{ContentKey, TAG_BYTES};
use keys::hashes::sha256;
use release::cipher::{CipherError, Decryptor};
use release::floors::Floors;
use release::header::{HEADER_BYTES, HeaderError, ImageHeader};
use release::image::{ImageChecker, ImageError, ProgramChecker};
use release::l1::verify_l1;
use release::manifest::Manifest;
use release::verified::Verified;

use crate::fixture::{Signed, danger_anchors, description, program, signed};

const CHUNK: usize = 64 * 1024;
const SEALED: usize = CHUNK + TAG_BYTES;

fn header(image: &Signed) -> ImageHeader {
    ImageHeader::from_bytes(image.sealed.first_chunk().unwrap()).unwrap()
}

fn verified(image: &Signed) -> Verified<Manifest> {
    verify_l1(&danger_anchors(), &Floors::NONE, &image.cose).unwrap()
}

/// Hands the input over in pieces of this size.
fn decrypt(mut decryptor: Decryptor, input: &[u8], piece: usize) -> Result<Vec<u8>, CipherError> {
    let mut plain = Vec::new();
    for mut piece in input.chunks(piece) {
        while let Some(chunk) = decryptor.next_chunk(&mut piece)? {
            plain.extend_from_slice(chunk);
        }
    }
    decryptor.finish()?;
    Ok(plain)
}

/// What the checker says of these bytes in place of the image, and all plaintext that it gave away.
fn check(image: &Signed, sealed: &[u8], key: &ContentKey) -> (Result<(), ImageError>, Vec<u8>) {
    let admission = danger_anchors().admit(verified(image), None).unwrap();
    let mut plain = Vec::new();
    let result = ImageChecker::new(admission, sealed.len() as u64, key).and_then(|mut checker| {
        for mut piece in sealed.chunks(50_000) {
            while let Some(chunk) = checker.next_chunk(&mut piece)? {
                plain.extend_from_slice(chunk);
            }
        }
        checker.finish()
    });
    (result.map(|proof| assert_eq!(*proof.manifest(), image.manifest)), plain)
}

fn refused(image: &Signed, sealed: &[u8]) -> ImageError {
    let (result, plain) = check(image, sealed, &image.content_key);
    assert!(image.plain.starts_with(&plain), "plaintext that was not authenticated came out");
    result.unwrap_err()
}

#[test]
fn it_is_byte_for_byte_what_another_implementation_of_stream_makes() {
    for length in [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5] {
        let image = signed(program(length), description());
        let header = header(&image);
        let aad = sha256(&image.sealed[..HEADER_BYTES]);
        let stream = StreamBE32::<Aes128Gcm>::new(&(*image.content_key.expose()).into(), &header.prefix.into());
        let count = length.div_ceil(CHUNK);
        let mut expected = header.to_bytes().to_vec();
        for (at, chunk) in image.plain.chunks(CHUNK).enumerate() {
            let payload = Payload { msg: chunk, aad: &aad };
            expected.extend(stream.encrypt(at as u32, at + 1 == count, payload).unwrap());
        }
        assert!(image.sealed == expected, "{length} bytes");
        assert_eq!(header.sealed_bytes(), image.sealed.len() as u64);
        assert_eq!(image.manifest.sealed.length, image.sealed.len() as u64);
    }
}

#[test]
fn it_comes_back_however_its_bytes_arrive_and_from_each_chunk_on() {
    let image = signed(program(3 * CHUNK + 5), description());
    let header = header(&image);
    for piece in [1000, SEALED - 1, SEALED, SEALED + 1, image.sealed.len()] {
        let decryptor = Decryptor::new(header, &image.content_key).unwrap();
        assert!(decrypt(decryptor, &image.sealed[HEADER_BYTES..], piece).unwrap() == image.plain, "{piece}");
    }
    for position in 0..4 {
        let decryptor = Decryptor::resume(header, &image.content_key, position).unwrap();
        let rest = &image.sealed[usize::try_from(header.chunk_at(position)).unwrap()..];
        let plain = &image.plain[position as usize * CHUNK..];
        assert!(decrypt(decryptor, rest, 7000).unwrap() == plain, "{position}");
    }
    assert_eq!(Decryptor::resume(header, &image.content_key, 4).unwrap_err(), CipherError::NoSuchChunk(4));
    let (result, plain) = check(&image, &image.sealed, &image.content_key);
    assert_eq!(result, Ok(()));
    assert!(plain == image.plain);
}

#[test]
fn chunks_moved_or_left_out_are_refused() {
    let image = signed(program(3 * CHUNK), description());
    let chunk = |at: usize| HEADER_BYTES + at * SEALED..HEADER_BYTES + (at + 1) * SEALED;
    let mut swapped = image.sealed.clone();
    swapped.copy_within(chunk(1), chunk(0).start);
    swapped[chunk(1)].copy_from_slice(&image.sealed[chunk(0)]);
    assert_eq!(refused(&image, &swapped), ImageError::Cipher(CipherError::Forged(0)));
    let mut repeated = image.sealed.clone();
    repeated.copy_within(chunk(0), chunk(1).start);
    assert_eq!(refused(&image, &repeated), ImageError::Cipher(CipherError::Forged(1)));
}

#[test]
fn truncation_and_extension_are_refused_before_the_first_byte() {
    let image = signed(program(2 * CHUNK), description());
    let expected = image.sealed.len() as u64;
    for length in [0, HEADER_BYTES, HEADER_BYTES + SEALED, image.sealed.len() - 1] {
        let (result, plain) = check(&image, &image.sealed[..length], &image.content_key);
        assert_eq!(result, Err(ImageError::Length { expected, found: length as u64 }));
        assert!(plain.is_empty());
    }
    let longer = [&image.sealed[..], &[0]].concat();
    assert_eq!(refused(&image, &longer), ImageError::Length { expected, found: expected + 1 });

    // Where the length was promised and not kept.
    let header = header(&image);
    let whole = &image.sealed[HEADER_BYTES..];
    let new = || Decryptor::new(header, &image.content_key).unwrap();
    assert_eq!(decrypt(new(), &whole[..SEALED], 999), Err(CipherError::TooShort(1)));
    assert_eq!(decrypt(new(), &whole[..SEALED + 9], 999), Err(CipherError::TooShort(1)));
    assert_eq!(decrypt(new(), &[whole, &[0]].concat(), 999), Err(CipherError::TooLong));
    // A header that promises less than there is: its hash is authenticated with each chunk.
    let shorter = ImageHeader { length: CHUNK as u64, ..header };
    let decryptor = Decryptor::new(shorter, &image.content_key).unwrap();
    assert_eq!(decrypt(decryptor, &whole[..SEALED], 999), Err(CipherError::Forged(0)));
}

#[test]
fn a_flipped_bit_in_any_part_is_refused() {
    let image = signed(program(CHUNK + 100), description());
    for bit in 0..HEADER_BYTES * 8 {
        let mut flipped = image.sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (result, plain) = check(&image, &flipped, &image.content_key);
        assert!(result.is_err() && plain.is_empty(), "bit {bit} of the header");
    }
    let end = image.sealed.len() - 1;
    for at in [HEADER_BYTES, HEADER_BYTES + CHUNK, HEADER_BYTES + SEALED - 1, HEADER_BYTES + SEALED, end - 16, end] {
        let mut flipped = image.sealed.clone();
        flipped[at] ^= 0x10;
        let chunk = u64::from(at >= HEADER_BYTES + SEALED);
        assert_eq!(refused(&image, &flipped), ImageError::Cipher(CipherError::Forged(chunk)), "byte {at}");
    }
}

#[test]
fn chunks_of_another_image_or_another_content_key_are_refused() {
    let image = signed(program(2 * CHUNK), description());
    let other = signed(program(2 * CHUNK), description());
    let mixed = [&image.sealed[..HEADER_BYTES + SEALED], &other.sealed[HEADER_BYTES + SEALED..]].concat();
    assert_eq!(refused(&image, &mixed), ImageError::Cipher(CipherError::Forged(1)));
    let other_header = [&other.sealed[..HEADER_BYTES], &image.sealed[HEADER_BYTES..]].concat();
    assert_eq!(refused(&image, &other_header), ImageError::Cipher(CipherError::Forged(0)));
    let (result, plain) = check(&image, &image.sealed, &other.content_key);
    assert_eq!(result, Err(ImageError::Cipher(CipherError::Forged(0))));
    assert!(plain.is_empty());
    // All of another image, which is consistent with its own key: only the hashes tell.
    let (result, _) = check(&image, &other.sealed, &other.content_key);
    assert_eq!(result, Err(ImageError::Hash));
}

#[test]
fn a_header_must_be_the_one_that_the_manifest_describes() {
    let image = signed(program(100), description());
    let header = header(&image);
    let with = |header: ImageHeader| [&header.to_bytes()[..], &image.sealed[HEADER_BYTES..]].concat();
    let length = ImageHeader { length: 101, ..header };
    assert_eq!(refused(&image, &with(length)), ImageError::OtherHeader);
    let chunk = ImageHeader { chunk_log2: 17, ..header };
    assert_eq!(refused(&image, &with(chunk)), ImageError::OtherHeader);

    let mut bytes = header.to_bytes();
    bytes[0] = b'v';
    assert_eq!(ImageHeader::from_bytes(&bytes), Err(HeaderError::NotAnImage));
    let changed = |at: usize, to: u8| {
        let mut bytes = header.to_bytes();
        bytes[at] = to;
        ImageHeader::from_bytes(&bytes).map(|_| ())
    };
    assert_eq!(changed(6, 2), Err(HeaderError::Format(2)));
    assert_eq!(changed(7, 3), Err(HeaderError::Algorithm(3)));
    for (log2, fits) in [(11, false), (12, true), (20, true), (21, false), (255, false)] {
        assert_eq!(changed(8, log2).is_ok(), fits, "{log2}");
    }
    for (length, fits) in [(0, false), (1, true), (256 << 20, true), ((256 << 20) + 1, false), (u64::MAX, false)] {
        let bytes = ImageHeader { length, ..header }.to_bytes();
        assert_eq!(ImageHeader::from_bytes(&bytes).is_ok(), fits, "{length}");
    }
}

#[test]
fn a_program_is_started_only_when_each_byte_is_what_was_signed() {
    let image = signed(program(5000), description());
    let run = |plain: &[u8]| {
        let mut checker = ProgramChecker::new(verified(&image));
        plain.chunks(1234).for_each(|piece| checker.update(piece));
        checker.finish().map(|proof| proof.manifest().hash())
    };
    assert_eq!(run(&image.plain), Ok(image.manifest.hash()));
    let mut flipped = image.plain.clone();
    flipped[4999] ^= 1;
    assert_eq!(run(&flipped), Err(ImageError::Hash));
    assert_eq!(run(&image.plain[..4999]), Err(ImageError::Length { expected: 5000, found: 4999 }));
    let longer = [&image.plain[..], &[0]].concat();
    assert_eq!(run(&longer), Err(ImageError::Length { expected: 5000, found: 5001 }));
}

#[test]
fn an_image_whose_plaintext_is_not_the_signed_one_is_refused() {
    let mut image = signed(program(100), description());
    image.manifest.plain.sha256 = [1; 32].into();
    image.cose = crate::fixture::release_keys()[0].sign_manifest(&image.manifest.to_cbor()).unwrap();
    assert_eq!(refused(&image, &image.sealed), ImageError::Hash);
}

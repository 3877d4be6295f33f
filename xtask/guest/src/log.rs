//! What the host recorded: every write and flush of a disk, in order, in the format of dm-log-writes.
//!
//! Little-endian; `s` is the log's sector size. Superblock: magic, version, number of entries (8 bytes each), sector size
//! (4 bytes), filled up to `s`. Then for each entry: sector, sectors, flags, length of a mark (8 bytes each), filled up to
//! `s`; then the sectors' bytes, but for a discard. (Linux, `drivers/md/dm-log-writes.c`.)

use std::io::Read;

use anyhow::{Context as _, Result, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// What is read of the superblock: four words, of the last one a half.
const SUPERBLOCK: usize = 32;
const FLUSH: u64 = 1;
const FORCED: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// All that happened to a disk.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
}

/// One request to a disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The first byte of the disk that it writes.
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
    /// All earlier writes are on the disk when it is done.
    pub(crate) flushes: bool,
    /// It is itself on the disk when it is done.
    pub(crate) is_forced: bool,
}

/// Reads the log of a disk; what follows it is left alone.
pub(crate) fn parse(mut log: impl Read) -> Result<Log> {
    let start = bytes(&mut log, SUPERBLOCK).context("the log has no beginning")?;
    ensure!(word(&start, 0) == Some(MAGIC), "this is no log of writes");
    ensure!(word(&start, 1) == Some(VERSION), "a log of another version");
    let (count, sector) = word(&start, 2).zip(word(&start, 3)).context("the log has no beginning")?;
    let sector = usize::try_from(sector & u64::from(u32::MAX))?;
    ensure!((512..=65536).contains(&sector) && sector.is_power_of_two(), "sectors of {sector} bytes");
    bytes(&mut log, sector - SUPERBLOCK)?;
    let entries = (0..count).map(|number| entry(&mut log, sector).with_context(|| format!("entry {number}")));
    Ok(Log { entries: entries.collect::<Result<_>>()? })
}

fn entry(log: &mut impl Read, sector: usize) -> Result<Entry> {
    let head = bytes(log, sector)?;
    let word = |at| word(&head, at).context("a head without fields");
    let (first, count, flags) = (word(0)?, word(1)?, word(2)?);
    ensure!(flags & !(FLUSH | FORCED) == 0, "its flags are {flags:#x}: {}", unknown(flags));
    let length = usize::try_from(count)?.checked_mul(sector).context("a length beyond the memory")?;
    let at = usize::try_from(first)?.checked_mul(sector).context("a place beyond the memory")?;
    Ok(Entry { at, bytes: bytes(log, length)?, flushes: flags & FLUSH != 0, is_forced: flags & FORCED != 0 })
}

fn bytes(log: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    log.take(length as u64).read_to_end(&mut bytes)?;
    ensure!(bytes.len() == length, "the log is cut off");
    Ok(bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.chunks_exact(8).nth(at)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn unknown(flags: u64) -> &'static str {
    if flags & DISCARD != 0 {
        "a discard, which the machine is not to make"
    } else if flags & MARK != 0 {
        "a mark, which nobody sets"
    } else {
        "unknown"
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// The bytes of a log, as the host writes it.
    fn logged(entries: &[(u64, u64, &[u8])]) -> Vec<u8> {
        let padded = |words: &[u64]| {
            let mut sector: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            sector.resize(SECTOR, 0);
            sector
        };
        let mut log = padded(&[MAGIC, VERSION, entries.len() as u64, SECTOR as u64]);
        for (sector, flags, data) in entries {
            log.extend(padded(&[*sector, (data.len() / SECTOR) as u64, *flags, 0]));
            log.extend_from_slice(data);
        }
        log
    }

    #[test]
    fn every_request_comes_back_in_order_with_its_place_and_its_flags() {
        let data = [7; 2 * SECTOR];
        let log = parse(&logged(&[(3, 0, &data), (0, FLUSH, &[]), (1, FORCED, &data[..SECTOR])])[..]).unwrap();
        let [write, flush, forced] = &log.entries[..] else { panic!("{log:?}") };
        assert_eq!(*write, Entry { at: 3 * SECTOR, bytes: data.to_vec(), flushes: false, is_forced: false });
        assert!(flush.flushes && flush.bytes.is_empty());
        assert!(forced.is_forced && forced.at == SECTOR && forced.bytes.len() == SECTOR);
    }

    #[test]
    fn a_log_that_is_cut_or_strange_is_refused() {
        let whole = logged(&[(3, 0, &[7; SECTOR])]);
        for length in [0, 27, SECTOR, SECTOR + 16, 2 * SECTOR, whole.len() - 1] {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(parse(&[&whole[..], &[0]].concat()[..]).is_ok(), "a log's file is longer than the log");
        for strange in [logged(&[(3, DISCARD, &[])]), logged(&[(3, MARK, &[])]), vec![1; 4 * SECTOR]] {
            assert!(parse(&strange[..]).is_err());
        }
        let mut huge = whole;
        huge[SECTOR + 8..SECTOR + 16].fill(0xff);
        assert!(parse(&huge[..]).is_err());
    }
}

//! Pages of relation files: their header and their checksum (bufpage.h, checksum_impl.h).

use crate::pg::Lsn;

/// `N_SUMS`: partial checksums that a compiler computes side by side in vector registers.
const LANES: usize = 32;
const ROW: usize = LANES * 4;
const FNV_PRIME: u32 = 16_777_619;
/// `checksumBaseOffsets`.
const BASE_OFFSETS: [u32; LANES] = [
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
];

/// `pd_lsn`: two 32-bit halves, the high one first.
pub fn lsn(page: &[u8]) -> Lsn {
    let half =
        |at: usize| u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    Lsn(half(0) << 32 | half(4))
}

/// `PageIsNew`: pd_upper is zero.
pub fn is_new(page: &[u8]) -> bool {
    page[14] == 0 && page[15] == 0
}

/// Whether the page is what its server wrote: its checksum fits, or it is new and all zero.
/// `block`: the page's number in the whole relation, over all segments. `page` is at least 1 KiB, and
/// a power of two, long.
pub fn is_good(page: &[u8], block: u32) -> bool {
    match is_new(page) {
        true => page.iter().all(|byte| *byte == 0),
        false => u16::from_le_bytes([page[8], page[9]]) == checksum(page, block),
    }
}

/// `pg_checksum_page`: the checksum's own two bytes count as zero.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = BASE_OFFSETS;
    let mut first = [0u8; ROW];
    first.copy_from_slice(&page[..ROW]);
    first[8..10].fill(0);
    add_row(&mut sums, &first);
    for row in page[ROW..].as_chunks::<ROW>().0 {
        add_row(&mut sums, row);
    }
    add_row(&mut sums, &[0; ROW]);
    add_row(&mut sums, &[0; ROW]);
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    // 1..=65535: zero means that there is no checksum.
    (folded % 65535) as u16 + 1
}

/// `CHECKSUM_COMP` on all lanes.
fn add_row(sums: &mut [u32; LANES], row: &[u8; ROW]) {
    for (sum, word) in sums.iter_mut().zip(row.as_chunks::<4>().0) {
        let mixed = *sum ^ u32::from_le_bytes(*word);
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_pages_are_all_zero() {
        let mut page = vec![0u8; 8192];
        assert!(is_good(&page, 7));
        page[8000] = 1;
        assert!(!is_good(&page, 7));
    }

    #[test]
    fn the_block_number_and_every_byte_count() {
        let mut page: Vec<u8> = (0..8192u32).map(|i| (i * 7 % 251) as u8).collect();
        let sum = checksum(&page, 3);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        assert!(is_good(&page, 3));
        assert!(!is_good(&page, 4));
        page[8191] ^= 1;
        assert!(!is_good(&page, 3));
    }
}

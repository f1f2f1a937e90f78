//! CRC-32C of what is put together from pieces, without reading the pieces again. The checksum of a
//! string that is followed by zeros is a linear function of the string's own; the powers of that function
//! are made once, so that a piece costs a few hundred operations.

/// Castagnoli's polynomial, reflected (pg_crc32c.h).
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// Enough for every length.
const POWERS: usize = 64;

/// A linear function: its value for each bit.
type Matrix = [u32; 32];

/// Moves checksums over zeros.
pub struct Shift {
    /// For 1, 2, 4, … bytes.
    powers: Vec<Matrix>,
}

impl Default for Shift {
    fn default() -> Self {
        let bit: Matrix = std::array::from_fn(|index| if index == 0 { POLYNOMIAL } else { 1 << (index - 1) });
        let byte = square(&square(&square(&bit)));
        let powers = std::iter::successors(Some(byte), |power| Some(square(power)));
        Shift { powers: powers.take(POWERS).collect() }
    }
}

impl Shift {
    /// What a difference of two checksums becomes when `zeros` equal bytes follow both strings.
    pub fn over(&self, difference: u32, zeros: u64) -> u32 {
        let bits = (0..POWERS).filter(|bit| zeros >> bit & 1 == 1);
        bits.fold(difference, |value, bit| times(&self.powers[bit], value))
    }

    /// The checksum of two strings, one after the other. `bytes`: length of the second.
    pub fn join(&self, first: u32, second: u32, bytes: u64) -> u32 {
        self.over(first, bytes) ^ second
    }
}

fn times(matrix: &Matrix, value: u32) -> u32 {
    let chosen = matrix.iter().enumerate().filter(|(bit, _)| value >> bit & 1 == 1);
    chosen.fold(0, |sum, (_, column)| sum ^ column)
}

fn square(matrix: &Matrix) -> Matrix {
    matrix.map(|column| times(matrix, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let shift = Shift::default();
        let data: Vec<u8> = (0..100_000u64).map(|at| ((at * at) >> 7) as u8).collect();
        for cut in [0, 1, 7, 8192, 65_537, 100_000] {
            let (a, b) = data.split_at(cut);
            let joined = shift.join(crc32c::crc32c(a), crc32c::crc32c(b), b.len() as u64);
            assert_eq!(joined, crc32c::crc32c(&data));
        }
        let mut other = data.clone();
        other[5000] ^= 9;
        let difference = crc32c::crc32c(&data[4096..8192]) ^ crc32c::crc32c(&other[4096..8192]);
        let whole = crc32c::crc32c(&data) ^ crc32c::crc32c(&other);
        assert_eq!(shift.over(difference, 100_000 - 8192), whole);
    }
}

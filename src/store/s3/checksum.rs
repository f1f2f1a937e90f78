//! CRC-64/NVME, the checksum that S3 keeps of a whole object, however it was cut into parts; and MD5 for the request
//! bodies of services that do not know that one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm::Crc64Nvme;

#[cfg(test)]
fn of(bytes: &[u8]) -> u64 {
    crc_fast::crc64_nvme(bytes)
}

/// For the header Content-MD5.
pub fn md5(bytes: &[u8]) -> String {
    use md5::Digest;
    STANDARD.encode(md5::Md5::digest(bytes))
}

/// As many services name a content (ETag).
pub fn md5_name(bytes: &[u8]) -> String {
    use md5::Digest;
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of what `first` is of, followed by `length` bytes that `second` is of.
pub fn combine(first: u64, second: u64, length: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Nvme, first, second, length)
}

pub fn digest() -> crc_fast::Digest {
    crc_fast::Digest::new(Crc64Nvme)
}

/// As S3 writes it: eight bytes, highest first, in base64.
pub fn encode(crc: u64) -> String {
    STANDARD.encode(crc.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_and_parts() {
        assert_eq!(of(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(combine(of(b"1234"), of(b"56789"), 5), of(b"123456789"));
        assert_eq!(combine(0, of(b"123456789"), 9), of(b"123456789"));
        assert_eq!(encode(0), "AAAAAAAAAAA=");
    }
}

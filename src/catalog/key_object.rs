//! Names of the objects below `keys/`: data keys that were wrapped for recipients, and what is said of them in plain.

/// Below the system identifier's directory.
pub const DIRECTORY: &str = "keys/";
const WRAPPED: &str = ".cms";
/// Digits of a data key's name.
const NAME_DIGITS: usize = 16;
/// A key that was wrapped anew more often than that was not wrapped by pgv.
const MOST_WRAPPINGS: u32 = 100_000;

/// A key as it was wrapped: `NAME.cms` at first, `NAME.2.cms` when it was wrapped anew, and so on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyObject {
    pub key_name: String,
    /// The first is 1.
    pub wrapping: u32,
}

impl KeyObject {
    /// By the name of its object. `None`: it is no wrapped key.
    pub fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(WRAPPED)?;
        let (name, wrapping) = match stem.split_once('.') {
            None => (stem, 1),
            Some((name, digits)) => (name, parse_wrapping(digits)?),
        };
        is_data_key_name(name).then(|| KeyObject { key_name: name.to_owned(), wrapping })
    }

    pub fn file_name(&self) -> String {
        match self.wrapping {
            1 => format!("{}{WRAPPED}", self.key_name),
            wrapping => format!("{}.{wrapping}{WRAPPED}", self.key_name),
        }
    }
}

fn parse_wrapping(digits: &str) -> Option<u32> {
    let number = digits.parse().ok().filter(|number| (2..=MOST_WRAPPINGS).contains(number))?;
    (number.to_string() == digits).then_some(number)
}

/// Whether `name` is one of a data key: its fingerprint.
pub fn is_data_key_name(name: &str) -> bool {
    name.len() == NAME_DIGITS && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wrapped_keys_have_such_names() {
        let first = KeyObject::parse("0123456789abcdef.cms").unwrap();
        let third = KeyObject::parse("0123456789abcdef.3.cms").unwrap();
        assert_eq!((first.wrapping, third.wrapping), (1, 3));
        assert_eq!(third.file_name(), "0123456789abcdef.3.cms");
        assert_eq!(first.file_name(), "0123456789abcdef.cms");
        for other in [
            "0123456789abcdef.json",
            "0123456789abcdef",
            "0123456789abcdef.1.cms",
            "0123456789abcdef.02.cms",
            "0123456789abcdef.+2.cms",
            "0123456789abcdef.2.2.cms",
            "0123456789abcdef.100001.cms",
            "0123456789ABCDEF.cms",
            "0123456789abcde.cms",
            ".cms",
            "../0123456789abcdef.cms",
        ] {
            assert_eq!(KeyObject::parse(other), None, "{other}");
        }
    }
}

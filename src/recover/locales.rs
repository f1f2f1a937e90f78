//! Whether a locale is installed here (setlocale): a server does not start with one that is not.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// `None`: not known, and then no locale is missing.
#[derive(Clone, Debug, Default)]
pub struct Locales(Option<BTreeSet<String>>);

impl Locales {
    /// Those that `locale -a` lists; a C library without it has its own rules.
    pub fn ask() -> Self {
        let output = Command::new("locale").arg("-a").stdin(Stdio::null()).stderr(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Self::listed(&String::from_utf8_lossy(&output.stdout)),
            _ => Locales(None),
        }
    }

    pub fn listed(text: &str) -> Self {
        let all: BTreeSet<String> = text.lines().map(normal).collect();
        // Every list has it: one without is none.
        Locales(Some(all).filter(|all| all.contains("C")))
    }

    /// Only what is proved to be absent is missing. The empty name is the environment's, a slash is a path's.
    pub fn has(&self, name: &str) -> bool {
        let Some(all) = &self.0 else { return true };
        matches!(name, "" | "C" | "POSIX") || name.contains('/') || all.contains(&normal(name))
    }
}

/// As the C library compares names: the codeset without regard to case and to what is no letter or digit.
fn normal(name: &str) -> String {
    let Some((language, rest)) = name.split_once('.') else { return name.to_owned() };
    let (codeset, modifier) = rest.find('@').map_or((rest, ""), |at| rest.split_at(at));
    let codeset: String =
        codeset.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    // `_nl_normalize_codeset`.
    let iso = if codeset.chars().all(|c| c.is_ascii_digit()) { "iso" } else { "" };
    format!("{language}.{iso}{codeset}{modifier}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_c_library_does() {
        let locales = Locales::listed("C\nC.utf8\nPOSIX\nde_DE.utf8\nde_DE.iso885915@euro\ngerman\n");
        for name in
            ["", "C", "POSIX", "C.UTF-8", "de_DE.UTF-8", "de_DE.utf8", "de_DE.8859-15@euro", "german", "/x/y"]
        {
            assert!(locales.has(name), "{name}");
        }
        for name in ["de_DE", "en_US.UTF-8", "de_DE.UTF-8@euro", "DE_de.UTF-8"] {
            assert!(!locales.has(name), "{name}");
        }
        assert!(Locales::listed("").has("en_US.UTF-8"), "a list of nothing proves nothing");
    }
}
